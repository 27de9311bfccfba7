"""What is wrong with a config.toml, all of it at once, in an administrator's words.

Validation stops at the first contradiction, and does not look for any while single values are
invalid. So contradictions are searched in a draft of the configuration, with all values as given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sij_node.config.section import CONTRADICTION, Section

Location = Sequence[int | str]


def problems_of(
    kind: type[Section], settings: Mapping[str, Any], error: ValidationError
) -> tuple[str, ...]:
    """Every problem of settings that are invalid, each with its place and what is needed.

    Parameters
    ----------
    kind
        The section that `settings` should be.
    error
        From their validation.
    """
    errors = (one for one in error.errors() if not _is_found_otherwise(one))
    texts = [_text_of(one, kind, settings) for one in errors]
    return tuple(dict.fromkeys([*texts, *_contradictions(_draft(kind, settings), (), settings)]))


def _is_found_otherwise(error: ErrorDetails) -> bool:
    """Whether it is a contradiction, or a list that is short only because values are invalid."""
    return error["type"] == CONTRADICTION or (error["type"] == "too_short" and bool(error["input"]))


# ---- contradictions ----------------------------------------------------------------------------


def _draft(kind: type[Section], given: Mapping[str, Any]) -> Section:
    """A section whose invalid values are left as they are, and whose missing ones are None."""
    values = {
        name: _draft_value(field, given[name]) if name in given else _default(field)
        for name, field in kind.model_fields.items()
    }
    return kind.model_construct(**values)


def _draft_value(field: FieldInfo, given: Any) -> Any:
    kind = _section_in(field.annotation)
    if kind is not None and isinstance(given, Mapping):
        return _draft(kind, given)
    if kind is not None and isinstance(given, list):
        return tuple(_draft(kind, one) for one in given if isinstance(one, Mapping))
    checked: Any = Annotated[field.annotation, field]
    with suppress(ValidationError):
        return TypeAdapter(checked).validate_python(given)
    return given


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a setting consists of: one, an optional one, or any number."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _contradictions(
    section: Section, location: tuple[int | str, ...], settings: Mapping[str, Any]
) -> Iterator[str]:
    # Invalid values, reported already, may make a rule inapplicable.
    with suppress(TypeError, AttributeError, ValueError, LookupError):
        for found in section.contradictions():
            yield f"{_place(location, settings)}: {found}" if location else found
    for name, value in section:
        if isinstance(value, Section):
            yield from _contradictions(value, (*location, name), settings)
        elif isinstance(value, tuple):
            for number, one in enumerate(value):
                if isinstance(one, Section):
                    yield from _contradictions(one, (*location, name, number), settings)


# ---- texts -------------------------------------------------------------------------------------

Details = Mapping[str, Any]
_TEXTS: Mapping[str, Callable[[Any, Details], str]] = MappingProxyType(
    {
        "int_type": lambda given, _: f"must be a whole number, not {_shown(given)}",
        "int_parsing": lambda given, _: f"must be a whole number, not {_shown(given)}",
        "int_from_float": lambda given, _: f"must be a whole number, not {_shown(given)}",
        "float_type": lambda given, _: f"must be a number, not {_shown(given)}",
        "float_parsing": lambda given, _: f"must be a number, not {_shown(given)}",
        "finite_number": lambda given, _: f"must be a number, not {_shown(given)}",
        "bool_type": lambda given, _: f"must be true or false, not {_shown(given)}",
        "bool_parsing": lambda given, _: f"must be true or false, not {_shown(given)}",
        "string_type": lambda given, _: f'must be text in "quotes", not {_shown(given)}',
        "path_type": lambda given, _: f'must be a path in "quotes", not {_shown(given)}',
        "tuple_type": lambda given, _: f"must be a list in [brackets], not {_shown(given)}",
        "dict_type": lambda given, _: f"must be a section, not {_shown(given)}",
        "model_type": lambda given, _: f"must be a section, not {_shown(given)}",
        "greater_than_equal": lambda given, said: f"must be at least {said['ge']:g}, not {given}",
        "greater_than": lambda given, said: f"must be more than {said['gt']:g}, not {given}",
        "less_than_equal": lambda given, said: f"must be at most {said['le']:g}, not {given}",
        "string_too_short": lambda _, __: "must not be empty",
        "too_short": lambda _, __: "must not be empty: name at least one",
        "too_long": lambda given, said: f"must have {said['max_length']} values, not {len(given)}",
        "string_too_long": lambda given, said: (
            f"must have at most {said['max_length']} characters; {_shown(given)} has {len(given)}"
        ),
        "literal_error": lambda given, said: (
            f"must be {said['expected']}, not {_shown(given)}{_meant(given, said['expected'])}"
        ),
        "enum": lambda given, said: (
            f"must be {said['expected']}, not {_shown(given)}{_meant(given, said['expected'])}"
        ),
        "value_error": lambda _, said: str(said["error"]),
    }
)


def _text_of(error: ErrorDetails, kind: type[Section], settings: Mapping[str, Any]) -> str:
    location, given = tuple(part for part in error["loc"] if part != "[key]"), error["input"]
    place = _place(location, settings)
    if error["type"] == "extra_forbidden":
        return f"{place} is unknown{_known_key(kind, location)}"
    if error["type"] == "missing" and len(location) == 1:
        name = str(location[0])
        return f"{_header(name, kind.model_fields.get(name))} is missing"
    if error["type"] == "missing" and isinstance(location[-1], int):
        return f"{place}: one more value is needed"
    if error["type"] == "missing":
        return f"{place} is missing{_description(kind, location)}"
    if location[-1:] in (("peer",), ("destination",)) and isinstance(given, Mapping):
        return f"[{location[-1]}] must be written with two brackets: [[{location[-1]}]]"
    text = _TEXTS.get(error["type"])
    return f"{place}: {text(given, error.get('ctx', {})) if text else error['msg'].lower()}"


def _shown(given: Any) -> str:
    """A value as written in TOML, shortened."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, (Mapping, list)):
        return "a section" if isinstance(given, Mapping) else "a list"
    return f'"{given[:40]}"' if isinstance(given, str) else str(given)


def _meant(given: Any, expected: str) -> str:
    choices = [one for one in expected.split("'") if one.strip(", ") not in ("", "or")]
    return did_you_mean(given, choices)


def did_you_mean(given: Any, names: Sequence[str]) -> str:
    """The end of a message about an unknown name: the known one that resembles it most, if any."""
    close = get_close_matches(str(given).lower(), names, 1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _known_key(kind: type[Section], location: Location) -> str:
    section, key = _section_at(kind, location[:-1]), str(location[-1])
    names = list(section.model_fields) if section else []
    elsewhere = (f"; it belongs to {one}" for one in _sections_with(key, kind, ""))
    return next(elsewhere, "") or did_you_mean(key, names) or f"; known here: {', '.join(names)}"


def _sections_with(key: str, kind: type[Section], path: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        section = _section_in(field.annotation)
        if section is not None:
            here = f"{path}.{name}".strip(".")
            if key in section.model_fields:
                yield _header(here, field)
            yield from _sections_with(key, section, here)


def _header(path: str, field: FieldInfo | None) -> str:
    is_repeated = field is not None and get_origin(field.annotation) is tuple
    return f"[[{path}]]" if is_repeated else f"[{path}]"


def _description(kind: type[Section], location: Location) -> str:
    section = _section_at(kind, location[:-1])
    field = section.model_fields.get(str(location[-1])) if section else None
    return f": {field.description.splitlines()[0]}" if field and field.description else ""


def _section_at(kind: type[Section], location: Location) -> type[Section] | None:
    found: type[Section] | None = kind
    for part in location:
        if found is not None and isinstance(part, str):
            field = found.model_fields.get(part)
            found = _section_in(field.annotation) if field else None
    return found


def _place(location: Location, settings: Mapping[str, Any]) -> str:
    """Section and key as written in config.toml, for instance ``[[peer]] PACS port``."""
    section, repeated, title, keys = "", False, "", []
    here: Any = settings
    for part in location:
        here = _inside(here, part)
        if isinstance(part, int):
            repeated = repeated or isinstance(here, Mapping)
            title = _title_of(here, part) if isinstance(here, Mapping) else title
        elif isinstance(here, Mapping) or (isinstance(here, list) and not section):
            section = f"{section}.{part}".strip(".")
        else:
            keys.append(part)
    if not section:
        return f"[{keys[0]}]" if len(location) == 1 else ".".join(keys)
    header = f"[[{section}]] {title}" if repeated else f"[{section}]"
    return " ".join((header.strip(), ".".join(keys))).strip()


def _inside(here: Any, part: int | str) -> Any:
    try:
        return here[part]
    except (KeyError, IndexError, TypeError):
        return None


def _title_of(section: Mapping[str, Any], number: int) -> str:
    return str(section.get("ae_title") or section.get("name") or f"no. {number + 1}")
