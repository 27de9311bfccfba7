"""A site's own study with what people drew and read on it, made ready for training.

What comes out is a case file: voxels, geometry, contours and readings, without identity. The
laboratory imports it; see ``python -m trainer import-cases``.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from models.case_file import Case, CaseFileInvalid, CaseSeries, Reading, position_named
from models.findings import Position
from sij_node.dicom.drawn_lines import (
    DrawnLine,
    delineation_of,
    lines_from_csv,
    lines_from_json,
    lines_from_report,
)
from sij_node.dicom.scanner import IMAGE_CLASSES
from sij_node.dicom.sequences import choose_pair, series_facts
from sij_node.dicom.volumes import volume_from
from sij_node.errors import PairMissing, TeachingUnusable

_READING_COLUMNS = {"reader", "session", "position", "grade"}
HIGHEST_GRADE = 3


def teaching_case(
    images: Path, contours: Iterable[Path], readings: Path | None, subject: str
) -> Case:
    """A case of one study.

    Parameters
    ----------
    images
        Folder with the DICOM files of one study.
    contours
        JSON, CSV, or structured reports, as `sij_node.dicom.drawn_lines` reads them.
    readings
        A table with the columns reader, session, position and grade; None without readings.
    subject
        The site's own name for the person, the same for all visits; never a patient's identity.

    Returns
    -------
    Case
        T1 and STIR, where the study has the pair, and every other series that was drawn on.

    Raises
    ------
    TeachingUnusable
        If a file cannot be used, or nothing was drawn or read.
    InputRejected
        If a series forms no volume.
    """
    by_series = _series_in(images)
    lines = [line for path in contours for line in _lines_in(path)]
    read = _readings_in(readings) if readings else ()
    kinds = _kinds(by_series)
    series = []
    known: set[str] = set()
    for uid, datasets in by_series.items():
        if uid in kinds or _is_drawn_on(datasets, lines):
            source = volume_from(datasets)
            known.update((uid, *source.sop_instance_uids))
            drawn = delineation_of(lines, source)
            series.append(CaseSeries(kinds.get(uid, _other(uid)), source.volume, drawn))
    _check_all_used(lines, known)
    if not read and all(one.delineation is None for one in series):
        raise TeachingUnusable("nothing was drawn or read on this study; there is nothing to teach")
    return Case(subject, tuple(series), read)


def _series_in(images: Path) -> Mapping[str, list[Dataset]]:
    found: dict[str, list[Dataset]] = {}
    for path in sorted(p for p in images.rglob("*") if p.is_file()):
        try:
            dataset = pydicom.dcmread(path)
        except InvalidDicomError:
            continue
        if str(dataset.get("SOPClassUID", "")) in IMAGE_CLASSES:
            found.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    studies = {str(one.StudyInstanceUID) for series in found.values() for one in series}
    if len(studies) != 1:
        raise TeachingUnusable(
            f"{images} holds MR images of {len(studies)} studies; a case is made of one"
        )
    return found


def _kinds(by_series: Mapping[str, Sequence[Dataset]]) -> Mapping[str, str]:
    try:
        choice = choose_pair({uid: series_facts(series) for uid, series in by_series.items()})
    except PairMissing:
        return {}
    return {choice.t1_series_uid: "T1", choice.stir_series_uid: "STIR"}


def _other(series_uid: str) -> str:
    return f"other {series_uid[-12:]}"


def _is_drawn_on(datasets: Sequence[Dataset], lines: Sequence[DrawnLine]) -> bool:
    uids = {str(one.SOPInstanceUID) for one in datasets} | {str(datasets[0].SeriesInstanceUID)}
    return any((line.sop_instance_uid or line.series_uid) in uids for line in lines)


def _check_all_used(lines: Sequence[DrawnLine], known: set[str]) -> None:
    lost = sorted({line.sop_instance_uid or line.series_uid for line in lines} - known)
    if lost:
        raise TeachingUnusable(
            f"{len(lost)} image(s) or series that were drawn on are not in the study, first "
            f"{lost[0]}; "
            "are the contours of another study?"
        )


def _lines_in(path: Path) -> tuple[DrawnLine, ...]:
    try:
        if path.suffix.lower() == ".json":
            return lines_from_json(path.read_text(encoding="utf-8"))
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return lines_from_csv(file)
        return lines_from_report(pydicom.dcmread(path))
    except (OSError, UnicodeDecodeError, InvalidDicomError) as error:
        raise TeachingUnusable(
            f"{path} cannot be read: {error}. Contours come as .json, .csv or DICOM SR."
        ) from error


def _readings_in(path: Path) -> tuple[Reading, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not _READING_COLUMNS.issubset(rows[0]):
            raise TeachingUnusable(
                f"{path} needs rows with the columns {', '.join(sorted(_READING_COLUMNS))}"
            )
        said: dict[tuple[str, int], dict[Position, int]] = {}
        for row in rows:
            session = said.setdefault((row["reader"], int(row["session"])), {})
            session[position_named(row["position"])] = _grade(row["grade"])
    except (OSError, UnicodeDecodeError, ValueError, CaseFileInvalid) as error:
        raise TeachingUnusable(f"{path} cannot be used: {error}") from error
    return tuple(Reading(reader, session, grades) for (reader, session), grades in said.items())


def _grade(text: str) -> int:
    grade = int(text)
    if not 0 <= grade <= HIGHEST_GRADE:
        raise ValueError(f"grade {grade} is not within 0 to {HIGHEST_GRADE}")
    return grade
