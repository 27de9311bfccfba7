"""What a destination gets: which results, in which order, in which words.

Archives and viewers differ in what they take and show. A profile says it for one of them; four
are there to begin with. Words follow the profile, codes never do.
"""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

ObjectName = Literal["seg", "findings", "scores", "presentation", "summary", "pdf"]
"""What can be sent: a segmentation, findings on the images and a presentation state of each
series; the report of all scores, the summary as pictures, and as a page."""
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
]
"""Every result is in a series of its own."""
Language = Literal["en", "de"]
PresetName = Literal["minimal", "ohif", "orthanc", "everything"]

PRESETS: Mapping[PresetName, Mapping[str, Any]] = MappingProxyType(
    {
        "minimal": {"objects": ("seg", "scores")},
        # OHIF lists presentation states and ignores them.
        "ohif": {"objects": ("seg", "findings", "scores", "summary", "pdf")},
        # Orthanc's viewers show pictures; the rest is for those who fetch it from there.
        "orthanc": {"objects": ("summary", "seg", "findings", "scores", "pdf")},
        "everything": {"objects": get_args(ObjectName)},
    }
)
"""By what is known of their viewers; see DECISIONS.md."""


class Profile(BaseModel):
    """[[profile]] What a destination gets; a [[peer]] names its profile."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(min_length=1)]
    """What a [[peer]] calls it by."""
    like: PresetName = "minimal"
    """The preset that gives whatever is not said here."""
    objects: Annotated[tuple[ObjectName, ...], Field(min_length=1)]
    """What is sent, in the order of sending. A notice "not analysed" is always sent."""
    language: Language = "en"
    """Of labels, tables and pictures."""
    scores_title: Literal["own", "imaging measurement report"] = "own"
    """Title of the report of all scores. The second is what IHE AIR asks for; OHIF 3.13 shows
    such a report, which has no coordinates, as a black viewport."""
    report_class: Literal["comprehensive 3d", "comprehensive"] = "comprehensive 3d"
    """SOP class of the reports; the second is for archives that do not take the first."""
    summary_class: Literal["multi-frame", "single-frame"] = "multi-frame"
    """One object of many pictures, or one object for each."""
    summary_compression: Literal["none", "jpeg-ls"] = "none"
    """jpeg-ls: lossless, a sixth of the size, for archives and viewers that take it."""
    empty_frames: bool = False
    """Whether a segmentation has frames for slices on which nothing is marked."""
    series_number: Annotated[int, Field(ge=1, le=2**31 - 100)] = 9900
    """Of the first result; the others follow."""
    series_numbers: Mapping[SeriesKind, Annotated[int, Field(ge=1, le=2**31 - 1)]] = {}
    """Numbers of their own for some."""
    series_descriptions: Mapping[
        SeriesKind, Annotated[str, StringConstraints(min_length=1, max_length=48)]
    ] = {}
    """Descriptions of their own for some; a later revision adds its number."""

    @model_validator(mode="before")
    @classmethod
    def _begin_with_a_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(given.get("like", "minimal"), {}), **given}

    @model_validator(mode="after")
    def _each_object_once(self) -> Self:
        if len(set(self.objects)) != len(self.objects):
            raise ValueError("objects: each once")
        return self

    @property
    def digest(self) -> str:
        """Of everything that changes the bytes of a result; which are sent does not."""
        said = self.model_dump(mode="json", exclude={"name", "like", "objects"})
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def wants(self, name: ObjectName) -> bool:
        """Whether the destination gets this."""
        return name in self.objects

    def place_of(self, kind: str) -> int:
        """When a result of this kind is sent, counted from 0."""
        names: tuple[str, ...] = self.objects
        return names.index(kind.split(maxsplit=1)[0]) if kind.split(maxsplit=1)[0] in names else 0

    def number_of(self, kind: SeriesKind) -> int:
        """Series Number of a result."""
        following = 0 if kind == "not analysed" else get_args(SeriesKind).index(kind)
        return self.series_numbers.get(kind, self.series_number + following)


def preset(name: PresetName) -> Profile:
    """A profile that comes with the node."""
    return Profile.model_validate({"name": name, "like": name})


MINIMAL = preset("minimal")
