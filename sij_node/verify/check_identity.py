"""Checks a result's patient, study, UIDs and references against the source images.

Source: DICOM PS3.3 C.7.1.1, C.7.2.1 (patient, study), C.12.1 (SOP Common), PS3.5 9.1 (UIDs).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.errors import ResultsInconsistent
from sij_node.verify.expected_results import ExpectedResults

SAME_AS_IMAGES = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    "ReferringPhysicianName",
)
"""Compared with the images; values never appear in errors."""
EARLIER_RESULTS = ("PredecessorDocumentsSequence",)
"""References to results of earlier revisions, which are not available here."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_LONGEST_UID = 64
_IMAGE_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_PADDING = "^= "
"""Not significant at the end of a value: empty name components and spaces."""


@dataclass(frozen=True)
class Existing:
    """An object that a result may reference."""

    sop_class_uid: str
    series_uid: str
    study_uid: str


def check_belongs(result: Attributes, expected: ExpectedResults) -> None:
    """Check that patient and study are those of the images.

    Raises
    ------
    ResultsInconsistent
        With the attribute, never its value.
    """
    if result.text("SpecificCharacterSet") != "ISO_IR 192":
        raise ResultsInconsistent("It is not encoded in UTF-8.")
    for keyword in SAME_AS_IMAGES:
        stated = {_stated(header, keyword) for header in expected.headers}
        if result.text(keyword).rstrip(_PADDING) not in stated:
            raise ResultsInconsistent(f"{keyword} differs from the images.")


def _stated(header: Dataset, keyword: str) -> str:
    """The value in an image; pydicom splits a text with backslashes into several values."""
    value = header.get(keyword)
    if isinstance(value, bytes):  # sent under an unknown VR
        value = value.decode("utf-8", "replace")
    values = value if isinstance(value, MultiValue) else [value or ""]
    return "\\".join(map(str, values)).strip(" \0").rstrip(_PADDING)


def check_uids(results: Sequence[Attributes], expected: ExpectedResults) -> None:
    """Check that every result has valid UIDs of its own that match its file meta information.

    UIDs of the images are copied as received, even if the sender's are malformed.

    Raises
    ------
    ResultsInconsistent
        If one is malformed, duplicated, or belongs to an image.
    """
    own = [result.text("SOPInstanceUID") for result in results]
    if len({*own, *expected.header_of}) != len(own) + len(expected.header_of):
        raise ResultsInconsistent("Two objects have the same SOP Instance UID.")
    image_series = {str(header.get("SeriesInstanceUID", "")) for header in expected.headers}
    received = {str(header.get(key, "")) for header in expected.headers for key in _IMAGE_UIDS}
    for result in results:
        _check_all_uids(result, received)
        if result.text("SeriesInstanceUID") in image_series:
            raise ResultsInconsistent("A result is in a series of the images.")
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if result.text(keyword) != result.text(f"MediaStorage{keyword}"):
                raise ResultsInconsistent(f"File meta and data set differ in {keyword}.")


def _check_all_uids(attributes: Attributes, received: Collection[str]) -> None:
    for element in attributes:
        if element.vr == b"UI":
            for uid in {*element.text.split("\\")} - {"", *received}:
                if not _UID.fullmatch(uid) or len(uid) > _LONGEST_UID:
                    raise ResultsInconsistent(f"{uid!r} is not a valid UID.")
        for item in element.items:
            _check_all_uids(item, received)


def existing(results: Sequence[Attributes], expected: ExpectedResults) -> Mapping[str, Existing]:
    """Images, the prior report, earlier and present results, by SOP Instance UID."""
    images = {uid: _of_header(header) for uid, header in expected.header_of.items()}
    if expected.since.prior:
        study_uid, series_uid, sop_class_uid, uid = expected.since.prior.report
        images[uid] = Existing(sop_class_uid, series_uid, study_uid)
    for study_uid, series_uid, sop_class_uid, uid in expected.earlier:
        images[uid] = Existing(sop_class_uid, series_uid, study_uid)
    return images | {result.text("SOPInstanceUID"): _of_result(result) for result in results}


def _of_header(header: Dataset) -> Existing:
    return Existing(
        str(header.get("SOPClassUID", "")),
        str(header.get("SeriesInstanceUID", "")),
        str(header.get("StudyInstanceUID", "")),
    )


def _of_result(result: Attributes) -> Existing:
    return Existing(
        result.text("SOPClassUID"),
        result.text("SeriesInstanceUID"),
        result.text("StudyInstanceUID"),
    )


def check_references(
    result: Attributes, known: Mapping[str, Existing], expected: ExpectedResults
) -> None:
    """Check that every referenced object exists, with that class, series, study and frames.

    Raises
    ------
    ResultsInconsistent
        If a reference is wrong.
    """
    for reference, series_uid, study_uid in _references(result, "", ""):
        uid = reference.text("ReferencedSOPInstanceUID")
        named = known.get(uid)
        if named is None:
            raise ResultsInconsistent(f"It references {uid}, which does not exist.")
        for what, stated, actual in (
            ("class", reference.text("ReferencedSOPClassUID"), named.sop_class_uid),
            ("series", series_uid or named.series_uid, named.series_uid),
            ("study", study_uid or named.study_uid, named.study_uid),
        ):
            if stated != actual:
                raise ResultsInconsistent(
                    f"It references {uid} with {what} {stated} instead of {actual}."
                )
        for frame in reference.numbers("ReferencedFrameNumber"):
            if (uid, int(frame)) not in expected.slices:
                raise ResultsInconsistent(
                    f"It references frame {frame:.0f} of {uid}: no such frame."
                )


def _references(
    parent: Attributes, series_uid: str, study_uid: str
) -> Iterator[tuple[Attributes, str, str]]:
    """All references with their enclosing series and study, empty if not stated."""
    earlier = [item for keyword in EARLIER_RESULTS for item in parent.items(keyword)]
    for item in (item for element in parent for item in element.items):
        if item in earlier:
            continue
        series = item.text("SeriesInstanceUID") or series_uid
        study = item.text("StudyInstanceUID") or study_uid
        if "ReferencedSOPInstanceUID" in item:
            yield item, series, study
        yield from _references(item, series, study)
