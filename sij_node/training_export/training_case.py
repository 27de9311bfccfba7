"""A site's own study with what people drew and read on it, made ready for training.

What comes out is a case file: voxels, geometry, contours and readings, without identity. The
training package imports it; see ``python -m trainer import-cases``.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from models.case_file import Case, CaseFileInvalid, CaseSeries, Reading, position_named
from models.findings import Position, Region
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.dicom.series_roles import choose_pair, series_facts
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


def training_case(
    images: Path,
    contours: Iterable[Path],
    readings: Path | None,
    subject: str,
    visit: int = 1,
) -> Case:
    """A case of one study.

    Parameters
    ----------
    images
        Folder with the DICOM files of one study.
    contours
        JSON, CSV, or structured reports, as `sij_node.training_export.drawn_lines` reads them.
    readings
        A table of all that was read, with READING_COLUMNS; what it says of this subject's visit
        is taken. None without readings.
    subject
        The site's own name for the person, the same for all visits; never a patient's identity.
    visit
        Which of the subject's visits the study is.

    Returns
    -------
    Case
        T1 and STIR, where the study has the pair, and every other series that was drawn on.

    Raises
    ------
    TrainingCaseUnusable
        If a file cannot be used, or nothing was drawn or read.
    InputRejected
        If a series forms no volume.
    """
    by_series = _series_in(images)
    lines = [line for path in contours for line in _lines_in(path)]
    read = readings_of(readings, subject, visit) if readings else ()
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
        raise TrainingCaseUnusable(
            "nothing was drawn or read on this study; there is nothing to teach"
        )
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
        raise TrainingCaseUnusable(
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
        raise TrainingCaseUnusable(
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
        raise TrainingCaseUnusable(
            f"{path} cannot be read: {error}. Contours come as .json, .csv or DICOM SR."
        ) from error


def readings_of(path: Path, subject: str, visit: int) -> tuple[Reading, ...]:
    """What a table of readings says of one visit, one for each reader and session.

    Any number of readers and sessions; a site that a reader did not score has no row, or an
    empty score.

    Raises
    ------
    TrainingCaseUnusable
        If the table cannot be read, a column is missing, or a row means nothing.
    """
    said: dict[tuple[str, int], dict[Position, int]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            _check_columns(table.fieldnames or (), path)
            for row in table:
                _read_row(row, subject, visit, said, f"{path}, line {table.line_num}")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingCaseUnusable(f"{path} cannot be read: {error}") from error
    return tuple(
        Reading(reader, session, scores) for (reader, session), scores in said.items() if scores
    )


def _check_columns(found: Iterable[str], path: Path) -> None:
    missing = [name for name in READING_COLUMNS if name not in found]
    if missing:
        raise TrainingCaseUnusable(
            f"{path} lacks the column(s) {', '.join(missing)}; "
            f"it needs {', '.join(READING_COLUMNS)}"
        )


def _read_row(
    row: Mapping[str, str],
    subject: str,
    visit: int,
    said: dict[tuple[str, int], dict[Position, int]],
    where: str,
) -> None:
    try:
        if row["patient"].strip() != subject or int(row["visit"]) != visit:
            return
        place = f"{row['side']} {row['region'].strip() or Region.JOINT} {row['lesion']}"
        scores = said.setdefault((row["reader"].strip(), int(row["session"])), {})
        _note(scores, position_named(place), row["score"].strip())
    except (AttributeError, ValueError, CaseFileInvalid) as error:
        raise TrainingCaseUnusable(f"{where}, cannot be used: {error}") from error


def _note(scores: dict[Position, int], position: Position, text: str) -> None:
    if not text:
        return
    score = int(text)
    if not 0 <= score <= HIGHEST_SCORE:
        raise ValueError(f"score {score} is not within 0 to {HIGHEST_SCORE}")
    if scores.setdefault(position, score) != score:
        raise ValueError(f"{position} has two scores of one reader in one session")
