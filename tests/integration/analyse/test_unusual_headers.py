"""Headers that are unusual or wrong, from the listener to the archive's store."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames

from sij_node.domain.job import State
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series, compressed
from tests.support.node_in_process import NodeInProcess, node_in_process

STUDY = "1.2.3"
VALUES = np.random.default_rng(1).integers(0, 4000, (7, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
SCORES_AND_PDF = [{"name": "short", "objects": ["scores", "pdf"]}]


def study(stir_uid: str = "1.2.3.2", **changes: object) -> list[Dataset]:
    t1 = classic_series(VALUES, "1.2.3.1", **GRID, **T1_TIMES, **changes)
    return [*t1, *classic_series(VALUES, stir_uid, **GRID, **STIR_TIMES, **changes)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeInProcess]:
    profile = {"peer": {"profile": "short"}, "profile": SCORES_AND_PDF}
    with node_in_process(tmp_path / "node", **profile) as node:
        yield node


def contents(images: Sequence[Dataset]) -> list[bytes]:
    files = []
    for image in images:
        file = BytesIO()
        image.save_as(file, enforce_file_format=True)
        files.append(file.getvalue())
    return files


IDENTIFIERS = ["A\\B", "a\tb\x1b", "\u202e4711", "<&%s'\"{0}"]


@pytest.mark.parametrize("identifier", IDENTIFIERS, ids=["backslash", "controls", "bidi", "markup"])
def test_any_patient_id_is_delivered_and_on_the_page(node: NodeInProcess, identifier):
    results = node.take(*study(PatientID=identifier, PatientName="A\\B^C"))

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    assert {one.Modality for one in results} == {"SR", "DOC"}
    stored = {"\\".join(np.atleast_1d(one.PatientID)) for one in results}
    assert stored == {identifier.strip()}


def test_latin_1_declared_as_utf_8_keeps_its_letters(node: NodeInProcess, tmp_path: Path):
    images = study(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    wrong = [one.replace(b"ISO_IR 100", b"ISO_IR 192") for one in contents(images)]

    assert set(node.send_files(tmp_path, wrong)) == {0x0000}

    assert {str(one.PatientName) for one in node.finish()} == {"Müller^Jörg"}


@pytest.mark.parametrize("padding", [b"\0\0", bytes(512)], ids=["two bytes", "a block"])
def test_encapsulated_images_with_padding_are_analysed(node: NodeInProcess, padding):
    images = [compressed(one, "1.2.840.10008.1.2.5") for one in study()]
    for image in images:
        (frame,) = generate_frames(image.PixelData, number_of_frames=1)
        image.PixelData = encapsulate([frame + padding])

    results = node.take(*images)

    assert {one.Modality for one in results} == {"SR", "DOC"}
    assert node.jobs(STUDY)[-1].state is State.DELIVERED


def test_two_echoes_under_one_series_uid_are_not_mixed(node: NodeInProcess):
    second = classic_series(VALUES, "1.2.3.9", **GRID, RepetitionTime=550.0, EchoTime=90.0)
    for image in second:
        image.SeriesInstanceUID = "1.2.3.1"

    results = node.take(*study(), *second)

    (report,) = [one for one in results if one.Modality == "SR"]
    assert "also contains other images" in report.to_json() or "other images" in report.to_json()
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert sum(len(one.ReferencedSOPSequence) for one in evidence) == 14


def test_another_report_under_the_uid_of_a_result_is_refused(node: NodeInProcess):
    (report,) = [one for one in node.take(*study()) if one.Modality == "SR"]
    other = dcmread(BytesIO(contents([report])[0]))
    other.PatientID, other.SeriesInstanceUID = "CANARY-2", "1.2.3.4.5"

    assert node.send(report) == [0x0000]
    assert node.send(other) == [0xC001]

    assert [one.status for one in node.admin.refusals()] == [0xC001]


def test_a_changed_copy_of_a_result_is_refused_but_not_a_corrected_one(node: NodeInProcess):
    (report,) = [one for one in node.take(*study()) if one.Modality == "SR"]
    corrected, changed = (dcmread(BytesIO(contents([report])[0])) for _ in range(2))
    corrected.PatientName = "Muster^Erika Maria"
    del changed.ContentSequence[-1]

    assert node.send(corrected) == [0x0000]
    assert node.send(changed) == [0xC001]
