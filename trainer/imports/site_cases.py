"""Prepares a site's own case files for training.

An experiment then names the folder and splits its case numbers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from models.case_file import SUFFIX, Case, CaseSeries, Reading, read_case_file
from models.delineate import (
    ContourNetwork,
    ContourRules,
    delineations,
    loaded_contour_network,
)
from models.delineation import Delineation
from models.findings import POSITIONS
from models.orientation import canonical
from models.roi import RoiRules, Sighting
from models.volume import Volume
from trainer.contours.image_stacks import image_stacks, write_stacks
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.imports.import_report import (
    ImportReport,
    check_sides,
    left_out_contours,
    left_out_lesions,
)
from trainer.prepared_cases import (
    UNREAD,
    StoredCase,
    canonical_sighting,
    joint_rois,
    stored,
    write_case,
)
from trainer.readers.readings import MISSING
from trainer.subjects import SubjectsTooFew, numbered, proposed_split, write_subjects

STYLE = "own data"


@dataclass(frozen=True)
class ReadingSessions:
    """The readers and sessions of a site's cases, which define the hierarchy of labels."""

    readers: tuple[str, ...]
    sessions: tuple[int, ...]

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> "ReadingSessions":
        """All readers and sessions that occur."""
        each = list(readings)
        return cls(
            tuple(sorted({one.reader for one in each})),
            tuple(sorted({one.session for one in each})),
        )

    def values(self, readings: Iterable[Reading]) -> NDArray[np.int8]:
        """One case's readings: 1 from grade 1 on, 0, or MISSING, ``(28, readers, sessions)``."""
        said = np.full((len(POSITIONS), len(self.readers), len(self.sessions)), MISSING, np.int8)
        for one in readings:
            reader, session = self.readers.index(one.reader), self.sessions.index(one.session)
            for position, grade in one.grades.items():
                said[POSITIONS.index(position), reader, session] = grade >= 1
        return said


def import_cases(
    folder: Annotated[
        Path, typer.Argument(help=f"Folder with *{SUFFIX} files, searched recursively.")
    ],
    out: Annotated[Path, typer.Option(help="Output folder: runs/NAME.")],
    margin_mm: Annotated[float, typer.Option(help="Same as in the lesion experiment.")] = 15.0,
    size_px: Annotated[int, typer.Option(help="Same as in the lesion experiment.")] = 112,
    weights: Annotated[
        Path, typer.Option(help="Its contour network delineates series without drawn contours.")
    ] = SHIPPED_WEIGHTS,
) -> None:
    """Prepare a site's own cases for training and propose a split by subject."""
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    if not paths:
        raise typer.BadParameter(f"{folder} contains no *{SUFFIX} files")
    rules = RoiRules(margin_mm=margin_mm, size_px=size_px)
    delineate = _LazyDelineator(weights)
    out.mkdir(parents=True, exist_ok=True)
    subjects = []
    cases: list[tuple[str, Path]] = []
    readings: list[Reading] = []
    for path in paths:
        case = read_case_file(path)
        check_sides(case, path)
        cases.append((case.subject, path))
        readings += case.readings
    read_by = ReadingSessions.of(readings)
    report = ImportReport(out)
    for number, (subject, path) in enumerate(numbered(cases, out)):
        case = read_case_file(path)
        write_case(site_case(number, case, rules, delineate, read_by), out)
        if sightings := drawn_sightings(case):
            rng = np.random.default_rng(number)
            write_stacks(image_stacks(sightings, rng), out, number)
        report.add(number, case, read_by.values(case.readings))
        subjects.append(subject)
        typer.echo(f"{number + 1}/{len(cases)} {path.name}")
    write_subjects(subjects, out)
    written_report = report.write(read_by.readers, read_by.sessions, subjects)
    typer.echo(f"{written_report}: check what was imported and what was left out")
    typer.echo(f"{len(read_by.readers)} reader(s), {len(read_by.sessions)} session(s)")
    _print_split(subjects, out)


def _print_split(subjects: list[str], out: Path) -> None:
    try:
        split = proposed_split(subjects)
    except SubjectsTooFew as error:
        typer.echo(f"no split: {error}")
        return
    typer.echo(f'[cases]\nfolder = "{out.name}"')
    for name, numbers in split.items():
        typer.echo(f"{name} = {list(numbers)}")


class _LazyDelineator:
    """The contour network, loaded for the first series without drawn contours."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights

    def __call__(self, volume: Volume) -> Delineation:
        (found,) = delineations(*self._network, (volume,))
        return found.delineation

    @cached_property
    def _network(self) -> tuple[ContourNetwork, ContourRules]:
        return loaded_contour_network(self._weights / "contour")


def site_case(
    number: int,
    case: Case,
    rules: RoiRules,
    delineate: Callable[[Volume], Delineation],
    read_by: ReadingSessions | None = None,
) -> StoredCase:
    """A case in the format that training reads.

    Only series with drawn contours train the contour network, and only with both joints drawn or
    none seen. Cases with T1, STIR and readings train the lesion network. The label is the consensus
    (paper); all readings are stored as well, for experiments that learn from readers.

    Parameters
    ----------
    delineate
        Delineates a canonical volume without drawn contours, so that its joints can be cropped.
    read_by
        Readers and sessions of all the site's cases; by default those of this case.
    """
    drawn = _drawn_series(case)
    agreed = case.agreed()
    pair = [one for kind in ("T1", "STIR") if (one := case.of_kind(kind)) is not None]
    readable = not left_out_lesions(case)
    sightings = [_sighting(one, delineate) for one in pair] if readable else []
    read_by = read_by or ReadingSessions.of(case.readings)
    return stored(
        number,
        [_sighting(one, delineate) for one in drawn],
        stir_from=sum(len(one.volume.voxels) for one in drawn if one.kind != "STIR"),
        style=STYLE,
        rois=joint_rois(sightings, rules, np.random.default_rng(number)) if readable else {},
        severity=[agreed.get(position, UNREAD) for position in POSITIONS],
        lesions_readable=readable,
        readings=read_by.values(case.readings) if readable else None,
    )


def _drawn_series(case: Case) -> list[CaseSeries]:
    """The series that train contours, STIR last."""
    drawn = (one for one in case.series if not left_out_contours(one))
    return sorted(drawn, key=lambda one: one.kind == "STIR")


def drawn_sightings(case: Case) -> list[Sighting]:
    """The series that train contours in canonical orientation, with their drawn contours."""
    return [
        canonical_sighting(one.volume, one.delineation)
        for one in _drawn_series(case)
        if one.delineation is not None
    ]


def _sighting(one: CaseSeries, delineate: Callable[[Volume], Delineation]) -> Sighting:
    if one.delineation is not None:
        return canonical_sighting(one.volume, one.delineation)
    upright = canonical(one.volume)
    return Sighting(upright, delineate(upright))
