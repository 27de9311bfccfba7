"""A case file: the images of one visit with its contours and readings, for training.

The node exports case files from DICOM and the training package imports them from other formats;
training reads both. A case file is de-identified: it carries only a subject name chosen by the
site, so that a data split keeps all visits of one subject together.
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
    """A case file, or the input for one, is not valid."""


@dataclass(frozen=True, eq=False)
class CaseSeries:
    """One series of a case.

    Parameters
    ----------
    kind
        "T1", "STIR", or any other name for a series used for contours only.
    delineation
        None if the series was not annotated; empty if the reader saw no joint.
    """

    kind: str
    volume: Volume
    delineation: Delineation | None


@dataclass(frozen=True, eq=False)
class Reading:
    """One reader's grades from one session.

    Parameters
    ----------
    grades
        Berlin grade, or 0 and 1, of each position that was read.
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
        If there are no series, or two of the same kind.
    """

    subject: str
    series: tuple[CaseSeries, ...]
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        kinds = [one.kind for one in self.series]
        if not kinds:
            raise CaseFileInvalid("a case needs at least one series")
        if len(set(kinds)) < len(kinds):
            raise CaseFileInvalid(f"the series of a case must differ in kind: {', '.join(kinds)}")

    def of_kind(self, kind: str) -> CaseSeries | None:
        """The series of this kind, or None."""
        return next((one for one in self.series if one.kind == kind), None)

    def agreed(self) -> dict[Position, int]:
        """1 (positive) or 0 for each position on which all its readers agree.

        Source: paper, consensus labels; positive means a Berlin grade of 1 or more.
        """
        labels: dict[Position, set[int]] = {}
        for reading in self.readings:
            for position, grade in reading.grades.items():
                labels.setdefault(position, set()).add(int(grade >= 1))
        return {position: given.pop() for position, given in labels.items() if len(given) == 1}


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
    """Parse the name of a position, for instance ``left lower ilium oedema``.

    Raises
    ------
    CaseFileInvalid
    """
    try:
        return _POSITIONS[" ".join(name.split()).lower()]
    except KeyError as error:
        raise CaseFileInvalid(
            f"unknown position {name!r}; an example of a valid one is {str(POSITIONS[0])!r}"
        ) from error


def write_case_file(case: Case, path: Path) -> Path:
    """Write a case atomically: under a temporary name, then renamed."""
    arrays: dict[str, Any] = {}
    for number, one in enumerate(case.series):
        arrays[f"voxels_{number}"] = one.volume.voxels
        arrays[f"affine_{number}"] = one.volume.affine
    arrays["told"] = np.array(json.dumps(_as_json(case)))
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return partial.rename(path)


def read_case_file(path: Path) -> Case:
    """Read a case file.

    Raises
    ------
    CaseFileInvalid
        If the file is damaged, not a case file, or of a newer format.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = json.loads(str(arrays["told"]))
            if stored["format"] != FORMAT:
                raise CaseFileInvalid(
                    f"{path} has format {stored['format']}; this version reads format {FORMAT}"
                )
            volumes = [
                Volume(arrays[f"voxels_{number}"], arrays[f"affine_{number}"])
                for number in range(len(stored["series"]))
            ]
        return _case(stored, volumes)
    except (OSError, BadZipFile, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CaseFileInvalid):
            raise
        raise CaseFileInvalid(f"{path} is not a valid case file: {error}") from error


def _as_json(case: Case) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "subject": case.subject,
        "series": [
            {"kind": one.kind, "contours": _contours_as_json(one.delineation)}
            for one in case.series
        ],
        "readings": [
            {
                "reader": one.reader,
                "session": one.session,
                "grades": {str(position): grade for position, grade in one.grades.items()},
            }
            for one in case.readings
        ],
    }


def _contours_as_json(delineation: Delineation | None) -> list[dict[str, Any]] | None:
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


def _case(stored: Mapping[str, Any], volumes: list[Volume]) -> Case:
    series = tuple(
        CaseSeries(one["kind"], volume, _delineation(one["contours"]))
        for one, volume in zip(stored["series"], volumes, strict=True)
    )
    readings = tuple(
        Reading(
            one["reader"],
            one["session"],
            {position_named(name): int(grade) for name, grade in one["grades"].items()},
        )
        for one in stored["readings"]
    )
    return Case(stored["subject"], series, readings)


def _delineation(contours: list[dict[str, Any]] | None) -> Delineation | None:
    if contours is None:
        return None
    return Delineation(
        tuple(
            Contour(one["slice"], Side(one["side"]), np.array(one["points"], float), 1.0)
            for one in contours
        )
    )
