"""Output profiles: which results a destination gets, in which order and language.

Archives and viewers differ in what they accept and display; a profile describes one of them.
Four presets ship with the node. Labels follow the language, codes never do.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from sij_node.config.section import Section

ObjectName = Literal["seg", "findings", "scores", "presentation", "summary", "pdf"]
"""Results that can be sent: segmentation, image findings and presentation state of each series;
the report of all scores; the summary as secondary captures and as a PDF."""
SeriesKind = Literal[
    "scores",
    "seg t1",
    "seg stir",
    "findings t1",
    "findings stir",
    "presentation t1",
    "presentation stir",
    "summary",
    "pdf",
    "not analysed",
    "rejection note",
    "not analysed summary",
    "not analysed pdf",
]
"""Every result has its own series."""
Language = Literal["en", "de"]
PresetName = Literal["minimal", "ohif", "orthanc", "everything"]

PRESETS: Mapping[PresetName, Mapping[str, Any]] = MappingProxyType(
    {
        # Any viewer displays the summary; new peers get it without another word in config.toml.
        "minimal": {"objects": ("summary", "scores", "seg")},
        # OHIF lists presentation states but does not apply them.
        "ohif": {"objects": ("seg", "findings", "scores", "summary", "pdf")},
        # Orthanc's viewers display images; the rest is for systems that retrieve it from there.
        "orthanc": {"objects": ("summary", "seg", "findings", "scores", "pdf")},
        "everything": {"objects": get_args(ObjectName), "not_analysed": ("summary", "pdf")},
    }
)
"""Chosen for what each viewer can display; see docs/decisions/results.md."""


class Profile(Section):
    """[[profile]] The results a destination gets; a [[peer]] names its profile."""

    name: Annotated[str, StringConstraints(min_length=1)]
    """Name by which a [[peer]] refers to it."""
    based_on: PresetName = "minimal"
    """Preset for everything not set here."""
    objects: Annotated[tuple[ObjectName, ...], Field(min_length=1)]
    """Which results are sent, in this order."""
    not_analysed: tuple[Literal["summary", "pdf"], ...] = ("summary",)
    """How a viewer without SR support shows that a study was not analysed, and why: a secondary
    capture, a PDF, or both. The report "not analysed" is always sent."""
    language: Language = "en"
    """Language of labels, tables and images."""
    scores_title: Literal["own", "imaging measurement report"] = "own"
    """Title of the report of all scores. IHE AIR requires the second; OHIF 3.13 displays such a
    report, which has no coordinates, as a black viewport."""
    report_class: Literal["comprehensive 3d", "comprehensive"] = "comprehensive 3d"
    """SOP class of the reports; the second for archives without Comprehensive 3D SR."""
    summary_class: Literal["multi-frame", "single-frame"] = "multi-frame"
    """One instance with all images, or one instance per image."""
    summary_compression: Literal["none", "jpeg-ls"] = "none"
    """jpeg-ls: lossless, one sixth of the size, for archives and viewers that support it."""
    empty_frames: bool = False
    """Include segmentation frames in which nothing is marked."""
    series_number: Annotated[int, Field(ge=1, le=2**31 - 100)] = 9900
    """Series Number of the first result; the others follow."""
    series_numbers: Mapping[SeriesKind, Annotated[int, Field(ge=1, le=2**31 - 1)]] = {}
    """Series Numbers of single results."""
    series_descriptions: Mapping[
        SeriesKind, Annotated[str, StringConstraints(min_length=1, max_length=48)]
    ] = {}
    """Series Descriptions of single results; a later revision adds its number."""

    @model_validator(mode="before")
    @classmethod
    def _begin_with_a_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(given.get("based_on", "minimal"), {}), **given}

    def contradictions(self) -> Iterator[str]:
        """Each result is sent once."""
        if len(set(self.objects)) != len(self.objects):
            yield "objects: list each result once"

    @property
    def digest(self) -> str:
        """Digest of all settings that change the bytes of a result; which are sent does not."""
        said = self.model_dump(mode="json", exclude={"name", "based_on", "objects", "not_analysed"})
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def wants(self, name: ObjectName) -> bool:
        """Whether the destination gets this result."""
        return name in self.objects

    def missing_from(self, kinds: Collection[str]) -> tuple[str, ...]:
        """The results of this profile that are not among those made for a study, by name."""
        if "not analysed" in kinds:
            wanted = (f"not analysed {name}" for name in self.not_analysed)
            return tuple(kind for kind in wanted if kind not in kinds)
        made = {kind.split(maxsplit=1)[0] for kind in kinds}
        return tuple(name for name in self.objects if made and name not in made)

    def place_of(self, kind: str) -> int:
        """Position of a result of this kind in the order of sending, counted from 0."""
        names: tuple[str, ...] = (*self.objects, "rejection")
        return names.index(kind.split(maxsplit=1)[0]) if kind.split(maxsplit=1)[0] in names else 0

    def number_of(self, kind: SeriesKind) -> int:
        """Series Number of a result."""
        following = 0 if kind == "not analysed" else get_args(SeriesKind).index(kind)
        return self.series_numbers.get(kind, self.series_number + following)


def preset(name: PresetName) -> Profile:
    """The profile of a preset."""
    return Profile.model_validate({"name": name, "based_on": name})


MINIMAL = preset("minimal")
