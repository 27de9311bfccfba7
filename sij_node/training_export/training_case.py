"""A training case: a study of the site with manually drawn contours and readings.

It contains voxels, geometry, contours and readings, and nothing that identifies the patient. The
training package imports it with ``python -m trainer import-cases``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
)
from models.csv_table import cells_of, rows_of
from models.reading_table import readings_of, whole_number
from sij_node.dicom.acquisition_facts import series_facts
from sij_node.dicom.acquisitions import Acquisition, acquisitions_by_key
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.dicom.headers import with_frames
from sij_node.dicom.series_roles import choose_pair
from sij_node.dicom.volumes import volume_from
from sij_node.errors import NodeError, PairMissing, TrainingCaseUnusable
from sij_node.training_export.contour_files import lines_in
from sij_node.training_export.drawn_lines import DrawnLine, delineation_of

MANIFEST_COLUMNS = ("study", "subject", "visit", "contours", "readings")
SHORTEST_NAME = 3
"""Shorter parts of a name or an ID identify nobody."""


@dataclass(frozen=True, eq=False)
class _Acquisition:
    """Images, or frames, of one series that form one volume.

    Parameters
    ----------
    key
        As in `sij_node.dicom.acquisitions.acquisitions_by_key`.
    group
        The frames of each image.
    """

    key: str
    datasets: Sequence[Dataset]
    group: Acquisition

    @property
    def frames(self) -> Acquisition:
        """Frames to use of the images of which not all are used."""
        return {uid: frames for uid, frames in self.group.items() if frames}

    @property
    def headers(self) -> list[Dataset]:
        frames = [self.group[str(one.SOPInstanceUID)] for one in self.datasets]
        pairs = zip(self.datasets, frames, strict=True)
        return [with_frames(one, own) if own else one for one, own in pairs]

    def own(self, lines: Sequence[DrawnLine]) -> list[DrawnLine]:
        """The lines drawn on it; those that name only a series are on its largest acquisition."""
        series_uid = str(self.datasets[0].SeriesInstanceUID)
        of_series = (replace(one, series_uid=series_uid) for one in lines if self._is_named(one))
        return [*(one for one in lines if self._has_image_of(one)), *of_series]

    def _is_named(self, line: DrawnLine) -> bool:
        return not line.sop_instance_uid and line.series_uid == self.key

    def _has_image_of(self, line: DrawnLine) -> bool:
        if line.sop_instance_uid not in self.group:
            return False
        frames = self.group[line.sop_instance_uid]
        return not frames or (line.frame or 1) - 1 in frames


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
        Files that `sij_node.training_export.contour_files` reads.
    readings
        CSV table as `models.reading_table` reads it; rows of other subjects and visits are
        ignored. None if there are no readings.
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
    acquisitions = _acquisitions_in(images)
    _check_pseudonym(subject, acquisitions[0].datasets[0])
    lines = [line for path in contours for line in lines_in(path)]
    read = _readings_in(readings, subject, visit)
    series = _case_series(acquisitions, lines)
    if not read and all(one.delineation is None for one in series):
        raise TrainingCaseUnusable(
            f"{images} has neither contours nor readings; there is nothing to export: give at "
            "least one of --contours and --readings"
        )
    return Case(subject, series, read)


def judged_case(datasets: Iterable[Dataset], readings: Iterable[Reading], subject: str) -> Case:
    """Build the training case of a stored study from the verdicts of readers.

    Parameters
    ----------
    datasets
        The images of one study, with pixels.
    readings
        From verdicts: 1 for present, 0 for absent.
    subject
        The pseudonym of the patient in exports.

    Raises
    ------
    TrainingCaseUnusable
        If the study has no pair of T1 and STIR.
    InputRejected
        If a series does not form a volume.
    """
    series = _case_series(_acquisitions_of(datasets, "the stored study"), ())
    if not series:
        raise TrainingCaseUnusable("The study has no pair of T1 and STIR to train with.")
    return Case(subject, series, tuple(readings))


def listed_cases(manifest: Path) -> Iterator[tuple[str, Case | TrainingCaseUnusable]]:
    """The training case of every row of a table of studies, or why it cannot be exported.

    Paths are relative to the table; several files of contours are separated by semicolons.

    Yields
    ------
    tuple
        Name of the case file without its suffix, or the line, and the case or the error.

    Raises
    ------
    TrainingCaseUnusable
        If the table cannot be read or lacks a column.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            for line, row in rows_of(file, MANIFEST_COLUMNS, manifest):
                yield _listed(cells_of(row, MANIFEST_COLUMNS), manifest.parent, f"line {line}")
    except CaseFileInvalid as error:
        raise TrainingCaseUnusable(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingCaseUnusable(f"{manifest} cannot be read: {error}") from error


def _listed(
    cells: Mapping[str, str], home: Path, line: str
) -> tuple[str, Case | TrainingCaseUnusable]:
    try:
        visit = whole_number(cells["visit"])
        contours = [_below(home, one) for one in cells["contours"].split(";") if one.strip()]
        readings = home / cells["readings"] if cells["readings"] else None
        case = training_case(home / cells["study"], contours, readings, cells["subject"], visit)
    except NodeError as error:
        return line, TrainingCaseUnusable(str(error))
    except ValueError as error:
        return line, TrainingCaseUnusable(f"the visit is no number: {error}")
    return f"{case.subject}-{visit}", case


def _below(home: Path, text: str) -> Path:
    """A file, or KIND=FILE, relative to a folder."""
    kind, equals, name = text.strip().rpartition("=")
    return Path(f"{kind}{equals}{home / name}")


def _case_series(
    acquisitions: Sequence[_Acquisition], lines: Sequence[DrawnLine]
) -> tuple[CaseSeries, ...]:
    """The pair and every other series with contours; every line must be on one of them."""
    kinds = _kinds(acquisitions)
    lines = [_on_series(line, kinds) for line in lines]
    series = []
    known: set[str] = set()
    for one in acquisitions:
        own = one.own(lines)
        if one.key in kinds or own:
            source = volume_from(one.datasets, one.frames)
            known.update((one.key, *source.sop_instance_uids))
            drawn = delineation_of(own, source)
            series.append(CaseSeries(kinds.get(one.key, _other(one.key)), source.volume, drawn))
    _check_all_used(lines, known)
    return tuple(series)


def _on_series(line: DrawnLine, kinds: Mapping[str, str]) -> DrawnLine:
    """A line of a series that was given as T1 or STIR, with the key of its acquisition."""
    if not (line.sop_instance_uid or line.series_uid):
        raise TrainingCaseUnusable(
            "a file of contours does not say which series it was drawn on; give it as KIND=FILE, "
            "for instance --contours T1=left.mrk.json"
        )
    keys = [key for key, kind in kinds.items() if kind == line.series_uid.upper()]
    return replace(line, series_uid=keys[0]) if keys else line


def _readings_in(table: Path | None, subject: str, visit: int) -> tuple[Reading, ...]:
    try:
        return readings_of(table, subject, visit) if table else ()
    except CaseFileInvalid as error:
        raise TrainingCaseUnusable(str(error)) from error


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


def _acquisitions_in(images: Path) -> list[_Acquisition]:
    return _acquisitions_of(_datasets_in(images), str(images))


def _datasets_in(images: Path) -> Iterator[Dataset]:
    for path in sorted(p for p in images.rglob("*") if p.is_file()):
        with suppress(InvalidDicomError):
            yield pydicom.dcmread(path)


def _acquisitions_of(datasets: Iterable[Dataset], where: str) -> list[_Acquisition]:
    found: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        if str(dataset.get("SOPClassUID", "")) in IMAGE_CLASSES:
            found.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    studies = {str(one.StudyInstanceUID) for series in found.values() for one in series}
    if len(studies) != 1:
        raise TrainingCaseUnusable(
            f"{where} contains MR images of {len(studies)} studies; a training case "
            "needs exactly one"
        )
    return [
        _Acquisition(key, tuple(one for one in series if str(one.SOPInstanceUID) in group), group)
        for uid, series in found.items()
        for key, group in acquisitions_by_key(uid, series)
    ]


def _kinds(acquisitions: Iterable[_Acquisition]) -> Mapping[str, str]:
    try:
        choice = choose_pair({one.key: series_facts(one.headers) for one in acquisitions})
    except PairMissing:
        return {}
    return {choice.t1_series_uid: "T1", choice.stir_series_uid: "STIR"}


def _other(key: str) -> str:
    return f"other {key[-12:]}"


def _check_all_used(lines: Sequence[DrawnLine], known: set[str]) -> None:
    lost = sorted({line.sop_instance_uid or line.series_uid for line in lines} - known)
    if lost:
        raise TrainingCaseUnusable(
            f"{len(lost)} image(s) or series with contours are not in the study, the first is "
            f"{lost[0]}. Check that the contours belong to this study."
        )
