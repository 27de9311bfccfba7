"""Studies that an archive corrects and sends again, from its first image to the archive's store."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from sij_node.domain.job import State
from sij_node.domain.study import CopyKind, CopyState
from sij_node.errors import IllegalStep
from sij_node.store.clear_spool import clear_spool
from sij_node.store.received_copies import copies_of
from sij_node.store.registration import received_instances
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series
from tests.support.node_in_process import NodeInProcess, node_in_process

STUDY, MOVED = "1.2.3", "1.2.3.777"
VALUES = np.random.default_rng(1).integers(0, 4000, (8, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
KO = "KO"


def study(**changes: object) -> list[Dataset]:
    """T1 and STIR, as the archive has them."""
    images = [
        *classic_series(VALUES, "1.2.3.1", **GRID, **T1_TIMES, SeriesNumber=1),
        *classic_series(VALUES[::-1], "1.2.3.2", **GRID, **STIR_TIMES, SeriesNumber=2),
    ]
    return [corrected(image, **changes) for image in images]


def corrected(image: Dataset, **changes: object) -> Dataset:
    copy = deepcopy(image)
    for keyword, value in changes.items():
        setattr(copy, keyword, value)
    return copy


@pytest.fixture
def node(tmp_path: Path):
    with node_in_process(tmp_path, peer={"rejection_notes": True}) as node:
        yield node


@pytest.fixture
def node_on_each_database(tmp_path: Path, database_url: str):
    with node_in_process(tmp_path, database_url, peer={"rejection_notes": True}) as node:
        yield node


def scores(results: list[Dataset]) -> Dataset:
    (report,) = [one for one in results if "scores" in one.SeriesDescription]
    return report


def predecessors(report: Dataset) -> set[tuple[str, str]]:
    return {
        (study.StudyInstanceUID, reference.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def rejected_by(note: Dataset) -> set[str]:
    return {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }


def everything_said(results: list[Dataset]) -> str:
    return "\n".join(one.to_json() for one in results)


MERGE = {"PatientID": "NEW-ID", "PatientName": "Neu^Name"}
MOVE = {**MERGE, "StudyInstanceUID": MOVED}


@pytest.mark.parametrize("change", [MERGE, MOVE], ids=["merged", "moved"])
def test_a_corrected_study_is_a_revision_under_the_new_identity(node_on_each_database, change):
    node: NodeInProcess = node_on_each_database
    first = node.take(*study())
    uids = {one.SOPInstanceUID for one in first}

    second = node.take(*study(**change))

    now = change.get("StudyInstanceUID", STUDY)
    results = [one for one in second if one.Modality != KO]
    assert {(one.PatientID, one.StudyInstanceUID) for one in results} == {("NEW-ID", now)}
    assert all("revision 2" in one.SeriesDescription for one in results)
    assert predecessors(scores(second)) == {(STUDY, scores(first).SOPInstanceUID)}
    assert "Identification corrected on" in everything_said([scores(second)])
    assert not {one.SOPInstanceUID for one in second} & uids
    assert node.jobs(now)[-1].state is State.DELIVERED
    check_rejection_note(first, second, change)


def check_rejection_note(first: list[Dataset], second: list[Dataset], change) -> None:
    """It names every result of the former identity, and lies where the archive has these."""
    (note,) = [one for one in second if one.Modality == KO]
    assert second[-1] is note
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113038", "DCM")
    assert rejected_by(note) == {one.SOPInstanceUID for one in first}
    assert note.StudyInstanceUID == STUDY
    assert note.PatientID == (first[0].PatientID if change is MOVE else "NEW-ID")


def test_a_destination_without_rejection_notes_gets_none(tmp_path: Path):
    with node_in_process(tmp_path) as node:
        node.take(*study())
        assert not [one for one in node.take(*study(**MERGE)) if one.Modality == KO]


def test_a_study_corrected_before_its_analysis_has_one_result(node: NodeInProcess):
    node.send(*study())
    results = node.take(*study(**MERGE))

    assert {one.PatientID for one in results} == {"NEW-ID"}
    assert not any("revision" in one.SeriesDescription for one in results)
    assert "corrected" not in everything_said([scores(results)])


def test_half_a_correction_changes_nothing_until_it_is_complete(node: NodeInProcess):
    node.take(*study())
    whole = study(**MERGE)

    assert node.take(*whole[:9]) == []
    assert {one.patient_id for one in received_instances(node.table.database, STUDY)} == {"4711"}

    assert {one.PatientID for one in node.take(*whole[9:])} == {"NEW-ID"}


def test_images_that_were_never_corrected_do_not_undo_a_correction(node: NodeInProcess):
    node.take(*study())
    node.take(*study(**MERGE))

    assert node.take(*study()) == []

    waiting = copies_of(node.table.database, STUDY)
    assert {one.state for one in waiting} == {CopyState.HELD}
    assert {one.PatientID for one in node.take(*study(**{**MERGE, "PatientID": "THIRD"}))} == {
        "THIRD"
    }


def test_a_correction_is_held_for_an_administrator_where_configured(tmp_path, database_url):
    peer = {"rejection_notes": True}
    with node_in_process(tmp_path, database_url, peer=peer, study={"corrections": "hold"}) as node:
        node.take(*study())
        assert node.take(*study(**MERGE)) == []
        (job,) = node.jobs(STUDY)
        assert {one.kind for one in node.admin.history(job.job_id).copies} == {CopyKind.CORRECTION}
        assert [len(one) for one in node.admin.studies_with_copies()] == [16]

        opened = node.admin.accept_copies(job.job_id)

        assert opened.state is State.QUEUED
        assert {one.PatientID for one in node.finish()} == {"NEW-ID"}
        assert node.admin.studies_with_copies() == ()
        assert any(one.action == "accept copies" for one in node.admin.changes())


def test_a_discarded_correction_leaves_the_study_as_it_was(tmp_path):
    with node_in_process(tmp_path, study={"corrections": "hold"}) as node:
        node.take(*study())
        node.take(*study(**MERGE))
        (job,) = node.jobs(STUDY)

        node.admin.discard_copies(job.job_id)

        assert node.finish() == []
        with pytest.raises(IllegalStep, match="decided already"):
            node.admin.accept_copies(job.job_id)


def other_pixels(image: Dataset) -> Dataset:
    copy = deepcopy(image)
    copy.PixelData = bytes(len(image.PixelData))
    return copy


def test_a_conflict_says_what_differs_and_harms_no_reanalysis(node: NodeInProcess):
    node.take(*study())
    image = study()[3]

    assert node.send(other_pixels(image)) == [0xC001]
    node.admin.reanalyse(node.jobs(STUDY)[-1].job_id)

    assert node.finish() == []  # the same results, which the archive has
    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    (copy,) = node.admin.history(node.jobs(STUDY)[-1].job_id).copies
    assert (copy.kind, copy.differs) == (CopyKind.CONFLICT, ("PixelData",))
    assert copy.stored_sha256 != copy.sha256


def test_an_accepted_conflict_is_analysed_and_a_revision(node: NodeInProcess):
    node.take(*study())
    node.send(other_pixels(study()[3]))

    node.admin.accept_copies(node.jobs(STUDY)[-1].job_id)

    results = node.finish()
    assert all("revision 2" in one.SeriesDescription for one in results)
    assert not [one for one in results if one.Modality == KO]


def test_a_conflict_before_the_first_analysis_is_decided_first(node: NodeInProcess):
    node.send(*study())
    node.send(other_pixels(study()[3]))
    notices = node.finish()
    assert all("not analysed" in one.SeriesDescription for one in notices)
    assert {one.Modality for one in notices} == {"SR", "OT"}

    node.admin.discard_copies(node.jobs(STUDY)[-1].job_id)
    node.admin.reanalyse(node.jobs(STUDY)[-1].job_id)

    assert {one.SeriesDescription for one in node.finish()} >= {"SIJ lesion scores, revision 2"}


def test_a_copy_in_another_syntax_with_other_pixels_is_a_listed_conflict(node: NodeInProcess):
    node.take(*study())
    copy = other_pixels(study()[3])
    copy.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"

    assert node.send(copy) == [0xC001]

    assert [one.differs for one in copies_of(node.table.database, STUDY)] == [("PixelData",)]
    assert node.admin.history(1).conflicts


def test_a_correction_survives_clearing_and_the_study_can_come_again(node: NodeInProcess):
    node.take(*study())
    node.take(*study(**MOVE))

    later = datetime.now(UTC) + timedelta(days=30)
    clear_spool(node.table.database, node.spool, 14, later)

    folder = node.config.node.data_folder / "spool"
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert left == []
    assert {one.PatientID for one in node.take(*study(**MOVE))} == {"NEW-ID"}
