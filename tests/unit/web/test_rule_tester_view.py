"""The rule tester's result for an uploaded file."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian

from sij_node.config.settings import Config
from sij_node.dicom.part10 import part10_header
from sij_node.dicom.uploaded_file import uploaded_header
from sij_node.errors import DatasetUnreadable
from sij_node.receive.association import TRANSFER_SYNTAXES
from sij_node.web.view_models.display_text import Tone
from sij_node.web.view_models.rule_tester_view import Ruling, ruling
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series

MR = "1.2.840.10008.5.1.4.1.1.4"
CONFIG = Config.model_validate(
    {
        "node": {"ae_title": "SIJNODE", "data_folder": "data"},
        "peer": [
            {
                "ae_title": "PACS",
                "networks": ["127.0.0.1"],
                "host": "pacs",
                "port": 104,
                "priority": 3,
            }
        ],
        "priority_rule": [
            {"keyword": "RequestedProcedurePriority", "contains": "STAT", "priority": 9},
            {"keyword": "StationName", "contains": "MR2", "priority": 1},
            {"keyword": "PatientID", "contains": "47", "priority": 2},
        ],
    }
)
VALUES = np.zeros((2, 8, 8), np.uint16)


def image(times: dict[str, float], **said: object) -> Dataset:
    one = classic_series(VALUES, "1.2.3.1", **times)[0]
    one.StationName = "MR1"
    for keyword, value in said.items():
        setattr(one, keyword, value)
    return one


def rule(header: Dataset) -> Ruling:
    return ruling(header, CONFIG.peer[0], CONFIG)


def file_of(dataset: Dataset) -> bytes:
    written = BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def test_a_t1_and_a_stir_are_recognised_with_the_reason():
    t1, stir = rule(image(T1_TIMES)), rule(image(STIR_TIMES))

    assert (t1.role, stir.role, t1.tone) == ("T1", "STIR", Tone.GOOD)
    assert "TR" in t1.reason
    assert "TI" in stir.reason


def test_an_unused_series_states_why():
    found = rule(image(T1_TIMES, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))

    assert (found.role, found.tone) == ("other", Tone.QUIET)
    assert found.reason == "axial orientation (90° from coronal)"
    assert found.verdict.endswith("not analysed.")


def test_without_a_rule_that_applies_the_peer_decides_the_priority():
    found = rule(image(T1_TIMES, PatientID="P1"))

    assert found.priority == 3
    assert "peer PACS" in found.why_priority
    assert not any(line.applies for line in found.rules)


def test_a_rule_overrules_the_peer_even_downwards():
    assert rule(image(T1_TIMES, StationName="MR2", PatientID="P1")).priority == 1


def test_of_several_rules_the_highest_decides():
    found = rule(image(T1_TIMES, StationName="MR2", RequestedProcedurePriority="stat"))

    assert found.priority == 9
    assert "STAT" in found.why_priority


def test_nothing_of_the_patient_is_shown():
    found = rule(image(T1_TIMES, PatientID="4711", PatientName="Canary^Test"))

    assert "4711" not in str(found)
    assert "CANARY" not in str(found).upper()
    assert next(line for line in found.rules if "PatientID" in line.words).applies


def test_a_dropped_file_is_read_without_its_pixels():
    header = uploaded_header(file_of(image(T1_TIMES)), TRANSFER_SYNTAXES, 16)

    assert header.SOPClassUID == MR
    assert "PixelData" not in header


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a DICOM file"),
        (b"%PDF-1.7" * 40, "not a DICOM file"),
        (bytes(128) + b"DICM", "states no transfer syntax"),
        (bytes(128) + b"DICM\x02\x00", "ends inside its file meta"),
    ],
)
def test_other_files_than_dicom_are_reported_as_such(content: bytes, said: str):
    with pytest.raises(DatasetUnreadable, match=said):
        uploaded_header(content, TRANSFER_SYNTAXES, 16)


def test_a_truncated_file_is_reported_as_such():
    with pytest.raises(DatasetUnreadable):
        uploaded_header(file_of(image(T1_TIMES))[:-20], TRANSFER_SYNTAXES, 16)


def test_what_unfolds_when_it_is_read_is_not_read():
    header = part10_header(MR, "1.2.3", DeflatedExplicitVRLittleEndian, "X")
    bomb = header + zlib.compress(bytes(50_000_000), 9)

    with pytest.raises(DatasetUnreadable, match="is not accepted"):
        uploaded_header(bomb, TRANSFER_SYNTAXES, 16)


def test_a_file_that_nests_too_deeply_is_refused_before_it_is_built():
    inner = Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.ReferencedStudySequence = [inner]
        inner = outer
    nested = image(T1_TIMES, ReferencedStudySequence=[inner])

    with pytest.raises(DatasetUnreadable):
        uploaded_header(file_of(nested), TRANSFER_SYNTAXES, 16)
