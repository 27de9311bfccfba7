"""A case file: images of one visit with what people drew and read on them, for training.

The node writes it from DICOM, the training package from other formats, and training reads it;
neither needs the other. It holds no identity: only a name for the subject that the
site chose, by which a split keeps all visits of one person together.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Position, Side
from models.volume import Volume

SUFFIX = ".case.npz"
FORMAT = 1
_POSITIONS: Mapping[str, Position] = {str(position): position for position in POSITIONS}


class CaseFileInvalid(ValueError):
    """A case file, or what should become one, cannot be used."""


@dataclass(frozen=True, eq=False)
class CaseSeries:
    """One series of a case.

    Parameters
    ----------
    kind
        "T1", "STIR", or any other name for a series that only serves for contours.
    delineation
        None where nobody drew; without contours where a reader saw no joint.
    """

    kind: str
    volume: Volume
    delineation: Delineation | None


@dataclass(frozen=True, eq=False)
class Reading:
    """What one reader said in one session.

    Parameters
    ----------
    grades
        Berlin grade, or 0 and 1, for each position that was read.
    """

    reader: str
    session: int
    grades: Mapping[Position, int]


@dataclass(frozen=True, eq=False)
class Case:
    """One visit of one subject.

    Raises
    ------
    CaseFileInvalid
        If there is no series, or two of the same kind.
    """

    subject: str
    series: tuple[CaseSeries, ...]
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        kinds = [one.kind for one in self.series]
        if not kinds:
            raise CaseFileInvalid("a case needs at least one series")
        if len(set(kinds)) < len(kinds):
            raise CaseFileInvalid(f"a case needs series of different kinds, got {', '.join(kinds)}")

    def of_kind(self, kind: str) -> CaseSeries | None:
        """The series of this kind, or None."""
        return next((one for one in self.series if one.kind == kind), None)

    def agreed(self) -> dict[Position, int]:
        """1 or 0 for each position on which all who read it agree that it is positive or not.

        Source: paper, consensus labels; positive from a Berlin grade of 1.
        """
        said: dict[Position, set[int]] = {}
        for reading in self.readings:
            for position, grade in reading.grades.items():
                said.setdefault(position, set()).add(int(grade >= 1))
        return {position: marks.pop() for position, marks in said.items() if len(marks) == 1}


def check_subject(subject: str) -> None:
    """Check that a subject's name can be part of a file name.

    Raises
    ------
    CaseFileInvalid
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", subject):
        raise CaseFileInvalid(
            "the subject must be a pseudonym of letters, digits, - and _, for instance S001"
        )


def position_named(name: str) -> Position:
    """The position that a person writes, for instance ``left lower ilium oedema``.

    Raises
    ------
    CaseFileInvalid
    """
    try:
        return _POSITIONS[" ".join(name.split()).lower()]
    except KeyError as error:
        raise CaseFileInvalid(
            f"there is no position {name!r}; one is for instance {POSITIONS[0]!s}"
        ) from error


def write_case_file(case: Case, path: Path) -> Path:
    """Write a case; a half-written file never carries its name."""
    arrays: dict[str, Any] = {}
    for number, one in enumerate(case.series):
        arrays[f"voxels_{number}"] = one.volume.voxels
        arrays[f"affine_{number}"] = one.volume.affine
    arrays["told"] = np.array(json.dumps(_told(case)))
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return partial.rename(path)


def read_case_file(path: Path) -> Case:
    """Read what `write_case_file` wrote.

    Raises
    ------
    CaseFileInvalid
        If the file is none, is damaged, or of a newer format.
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            told = json.loads(str(kept["told"]))
            if told["format"] != FORMAT:
                raise CaseFileInvalid(
                    f"{path} has format {told['format']}; this program reads format {FORMAT}"
                )
            volumes = [
                Volume(kept[f"voxels_{number}"], kept[f"affine_{number}"])
                for number in range(len(told["series"]))
            ]
        return _case(told, volumes)
    except (OSError, BadZipFile, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CaseFileInvalid):
            raise
        raise CaseFileInvalid(f"{path} is no usable case file: {error}") from error


def _told(case: Case) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "subject": case.subject,
        "series": [{"kind": one.kind, "contours": _drawn(one.delineation)} for one in case.series],
        "readings": [
            {
                "reader": one.reader,
                "session": one.session,
                "grades": {str(position): grade for position, grade in one.grades.items()},
            }
            for one in case.readings
        ],
    }


def _drawn(delineation: Delineation | None) -> list[dict[str, Any]] | None:
    if delineation is None:
        return None
    return [
        {
            "slice": contour.slice_index,
            "side": str(contour.side),
            "points": np.round(contour.points, 3).tolist(),
        }
        for contour in delineation.contours
    ]


def _case(told: Mapping[str, Any], volumes: list[Volume]) -> Case:
    series = tuple(
        CaseSeries(one["kind"], volume, _delineation(one["contours"]))
        for one, volume in zip(told["series"], volumes, strict=True)
    )
    readings = tuple(
        Reading(
            one["reader"],
            one["session"],
            {position_named(name): int(grade) for name, grade in one["grades"].items()},
        )
        for one in told["readings"]
    )
    return Case(told["subject"], series, readings)


def _delineation(drawn: list[dict[str, Any]] | None) -> Delineation | None:
    if drawn is None:
        return None
    return Delineation(
        tuple(
            Contour(one["slice"], Side(one["side"]), np.array(one["points"], float), 1.0)
            for one in drawn
        )
    )
