"""A training case: a study of the site with manually drawn contours and readings.

It contains voxels, geometry, contours and readings, and nothing that identifies the patient. The
training package imports it with ``python -m trainer import-cases``.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from models.case_file import (
    Case,
    CaseFileInvalid,
    CaseSeries,
    Reading,
    check_subject,
    position_named,
)
from models.findings import Position, Region
from sij_node.dicom.acquisition_facts import series_facts
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.dicom.series_roles import choose_pair
from sij_node.dicom.volumes import volume_from
from sij_node.errors import PairMissing, TrainingCaseUnusable
from sij_node.training_export.drawn_lines import (
    DrawnLine,
    delineation_of,
    lines_from_csv,
    lines_from_json,
    lines_from_report,
)

READING_COLUMNS = ("patient", "visit", "reader", "session", "side", "region", "lesion", "score")
HIGHEST_SCORE = 3
SHORTEST_NAME = 3
"""Shorter parts of a name or an ID identify nobody."""


def training_case(
    images: Path,
    contours: Iterable[Path],
    readings: Path | None,
    subject: str,
    visit: int = 1,
) -> Case:
    """Build the training case of one study.

    Parameters
    ----------
    images
        Folder with the DICOM files of one study.
    contours
        JSON, CSV or DICOM SR files, in the formats of `sij_node.training_export.drawn_lines`.
    readings
        CSV table of readings with `READING_COLUMNS`; rows of other subjects and visits are ignored.
        None if there are no readings.
    subject
        The site's research ID of the patient, the same for all visits; never the patient ID.
    visit
        Number of the visit.

    Returns
    -------
    Case
        T1 and STIR, if the study has the pair, and every other series with contours.

    Raises
    ------
    TrainingCaseUnusable
        If a file is invalid, or the study has neither contours nor readings.
    InputRejected
        If a series does not form a volume.
    """
    by_series = _series_in(images)
    _check_pseudonym(subject, next(iter(by_series.values()))[0])
    lines = [line for path in contours for line in _lines_in(path)]
    read = readings_of(readings, subject, visit) if readings else ()
    series = _case_series(by_series, lines)
    if not read and all(one.delineation is None for one in series):
        raise TrainingCaseUnusable(
            f"{images} has neither contours nor readings; there is nothing to export: give at "
            "least one of --contours and --readings"
        )
    return Case(subject, series, read)


def _case_series(
    by_series: Mapping[str, Sequence[Dataset]], lines: Sequence[DrawnLine]
) -> tuple[CaseSeries, ...]:
    """The pair and every other series with contours; every line must be on one of them."""
    kinds = _kinds(by_series)
    series = []
    known: set[str] = set()
    for uid, datasets in by_series.items():
        if uid in kinds or _has_contours(datasets, lines):
            source = volume_from(datasets)
            known.update((uid, *source.sop_instance_uids))
            drawn = delineation_of(lines, source)
            series.append(CaseSeries(kinds.get(uid, _other(uid)), source.volume, drawn))
    _check_all_used(lines, known)
    return tuple(series)


def _check_pseudonym(subject: str, header: Dataset) -> None:
    """Refuse a subject that names the patient: it becomes part of file names and content."""
    try:
        check_subject(subject)
    except CaseFileInvalid as error:
        raise TrainingCaseUnusable(str(error)) from error
    identity = f"{header.get('PatientName', '')} {header.get('PatientID', '')}"
    parts = [part for part in re.split(r"[\W_]+", identity.lower()) if len(part) >= SHORTEST_NAME]
    if any(part in subject.lower() for part in parts):
        raise TrainingCaseUnusable(
            "--subject contains the patient's name or ID; choose a pseudonym, for instance S001"
        )


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
        raise TrainingCaseUnusable(
            f"{images} contains MR images of {len(studies)} studies; a training case "
            "needs exactly one"
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


def _has_contours(datasets: Sequence[Dataset], lines: Sequence[DrawnLine]) -> bool:
    uids = {str(one.SOPInstanceUID) for one in datasets} | {str(datasets[0].SeriesInstanceUID)}
    return any((line.sop_instance_uid or line.series_uid) in uids for line in lines)


def _check_all_used(lines: Sequence[DrawnLine], known: set[str]) -> None:
    lost = sorted({line.sop_instance_uid or line.series_uid for line in lines} - known)
    if lost:
        raise TrainingCaseUnusable(
            f"{len(lost)} image(s) or series with contours are not in the study, the first is "
            f"{lost[0]}. Check that the contours belong to this study."
        )


def _lines_in(path: Path) -> tuple[DrawnLine, ...]:
    try:
        if path.suffix.lower() == ".json":
            return lines_from_json(path.read_text(encoding="utf-8"))
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return lines_from_csv(file)
        return _lines_of_report(path)
    except (OSError, UnicodeDecodeError, InvalidDicomError) as error:
        raise TrainingCaseUnusable(
            f"{path} cannot be read: {error}. Contours must be .json, .csv or DICOM SR."
        ) from error


def _lines_of_report(path: Path) -> tuple[DrawnLine, ...]:
    lines = lines_from_report(pydicom.dcmread(path))
    if not lines:
        raise TrainingCaseUnusable(
            f"{path} has no image coordinates: contours in a structured report are polylines "
            "(SCOORD, POLYLINE) that select from their images. Export it with its coordinates, "
            "or give the contours as .json or .csv."
        )
    return lines


def readings_of(path: Path, subject: str, visit: int) -> tuple[Reading, ...]:
    """The readings of one visit from a table, one for each reader and session.

    A site that a reader did not score has no row, or an empty score.

    Raises
    ------
    TrainingCaseUnusable
        If the table cannot be read, a column is missing, a row is invalid, or no row is of this
        visit.
    """
    found: dict[tuple[str, int], dict[Position, int]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            _check_columns(table.fieldnames or (), path)
            for row in table:
                _read_row(row, subject, visit, found, f"{path}, line {table.line_num}")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingCaseUnusable(f"{path} cannot be read: {error}") from error
    if not found:
        raise TrainingCaseUnusable(
            f"{path} has no row of subject {subject}, visit {visit}; correct the columns patient "
            "and visit or the options --subject and --visit, or leave out --readings."
        )
    return tuple(
        Reading(reader, session, scores) for (reader, session), scores in found.items() if scores
    )


def _check_columns(found: Iterable[str], path: Path) -> None:
    missing = [name for name in READING_COLUMNS if name not in found]
    if missing:
        raise TrainingCaseUnusable(
            f"{path} lacks the column(s) {', '.join(missing)}; "
            f"required are {', '.join(READING_COLUMNS)}"
        )


def _read_row(
    row: Mapping[str, str],
    subject: str,
    visit: int,
    found: dict[tuple[str, int], dict[Position, int]],
    where: str,
) -> None:
    try:
        if row["patient"].strip() != subject or int(row["visit"]) != visit:
            return
        place = f"{row['side']} {row['region'].strip() or Region.JOINT} {row['lesion']}"
        scores = found.setdefault((row["reader"].strip(), int(row["session"])), {})
        _note(scores, position_named(place), row["score"].strip())
    except (AttributeError, ValueError, CaseFileInvalid) as error:
        raise TrainingCaseUnusable(f"{where}, is invalid: {error}") from error


def _note(scores: dict[Position, int], position: Position, text: str) -> None:
    if not text:
        return
    score = int(text)
    if not 0 <= score <= HIGHEST_SCORE:
        raise ValueError(f"score {score} is not within 0 to {HIGHEST_SCORE}")
    if scores.setdefault(position, score) != score:
        raise ValueError(f"{position} has two different scores by one reader in one session")
