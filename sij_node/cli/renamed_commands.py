"""Commands that were renamed: the old ones are hidden and refuse, naming the new one."""

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

import typer

RENAMED_COMMANDS: Mapping[str, str] = MappingProxyType(
    {"try-alarms": "test-alerts", "refused": "rejected", "teaching-case": "training-case"}
)
RENAMED_DESTINATION_COMMANDS: Mapping[str, str] = MappingProxyType(
    {"send-kept-back": "send-withheld"}
)
WRONG_USAGE = 64
_WHATEVER_FOLLOWS = {"ignore_unknown_options": True, "allow_extra_args": True}


def refuse_renamed(app: typer.Typer, renamed: Mapping[str, str]) -> None:
    """Add hidden commands that refuse whatever follows them."""
    for old, new in renamed.items():
        app.command(old, hidden=True, add_help_option=False, context_settings=_WHATEVER_FOLLOWS)(
            _refusal_of(old, new)
        )


def _refusal_of(old: str, new: str) -> Callable[[], None]:
    def refuse() -> None:
        print(f"sij-node: {old} has been renamed to {new}.", file=sys.stderr)  # noqa: T201
        raise typer.Exit(WRONG_USAGE)

    return refuse
