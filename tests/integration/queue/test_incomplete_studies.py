"""Studies that arrive in pieces, by all the ways that archives send."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.presentation import build_context

from sij_node.domain.job import State
from sij_node.store.clear_spool import clear_spool
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series
from tests.support.node_in_process import ARCHIVE, NodeInProcess, node_in_process

STUDY = "1.2.3"
VALUES = np.random.default_rng(1).integers(0, 4000, (7, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
EXPLICIT = "1.2.840.10008.1.2.1"
LONG_S = 10
"""As in `node_in_process`."""


def series(times: dict[str, object], uid: str, **more: object) -> list[Dataset]:
    return classic_series(VALUES, uid, **GRID, **times, **more)


def t1() -> list[Dataset]:
    return series(T1_TIMES, "1.2.3.1", SeriesNumber=1)


def stir(**more: object) -> list[Dataset]:
    return series(STIR_TIMES, "1.2.3.2", SeriesNumber=2, **more)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeInProcess]:
    with node_in_process(tmp_path) as node:
        yield node


@contextmanager
def open_association(node: NodeInProcess) -> Iterator[object]:
    entity = AE(ARCHIVE)
    entity.requested_contexts = [build_context("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)]
    association = entity.associate("127.0.0.1", node.listener.port, ae_title="SIJ")
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def state(node: NodeInProcess) -> State:
    return node.jobs(STUDY)[-1].state


def note(node: NodeInProcess) -> str:
    steps = node.admin.history(node.jobs(STUDY)[-1].job_id).steps
    return next(one.note for one in reversed(steps) if one.step == "settled")


def scores(results: list[Dataset]) -> Dataset:
    (found,) = [one for one in results if "scores" in one.SeriesDescription]
    return found


MISSING = {
    "a hole in the middle": [0, 1, 2, 4, 5, 6],
    "the first images": [2, 3, 4, 5, 6],
    "the last images": [0, 1, 2, 3, 4],
}


@pytest.mark.parametrize("there", MISSING.values(), ids=MISSING)
def test_a_study_waits_for_images_that_are_visibly_missing(node: NodeInProcess, there):
    node.send(*t1(), *(stir()[number] for number in there))

    node.wait(LONG_S - 1)

    assert state(node) is State.RECEIVING
    node.send(*(one for number, one in enumerate(stir()) if number not in there))
    node.wait(LONG_S - 3)
    assert state(node) is State.QUEUED
    assert "T1 and STIR received" in note(node)


def test_a_study_waits_for_the_number_of_images_that_it_states(node: NodeInProcess):
    whole = [*t1(), *stir()]
    for image in whole:
        image.ImagesInAcquisition = 7
    node.send(*whole[1:6], *whole[8:13])

    node.wait(LONG_S - 1)
    assert state(node) is State.RECEIVING

    node.wait(LONG_S)
    assert "fewer images than stated" in note(node)


def test_a_partial_study_says_so_and_its_completion_is_a_revision(node: NodeInProcess):
    first = node.take(*t1(), *stir()[:5])

    second = node.take(*stir()[5:])

    assert "images may be missing: covers less than the other series (STIR, 2 or more)" in (
        scores(first).to_json()
    )
    assert "images may be missing" not in scores(second).to_json()
    assert all("revision 2" in one.SeriesDescription for one in second)
    partial = node.admin.study(node.jobs(STUDY)[0].job_id).record
    assert any("images may be missing" in one for one in partial.remarks)


def test_a_study_waits_while_an_association_that_carries_it_is_open(node: NodeInProcess):
    with open_association(node) as association:
        for image in [*t1(), *stir()]:
            assert association.send_c_store(image).Status == 0x0000
        node.wait(LONG_S - 1)
        assert state(node) is State.RECEIVING

    node.wait(2)
    assert state(node) is State.QUEUED


def test_an_association_that_stays_open_holds_a_study_up_to_the_longer_wait(node: NodeInProcess):
    with open_association(node) as association:
        for image in [*t1(), *stir()]:
            association.send_c_store(image)
        node.wait(LONG_S + 1)

        assert state(node) is State.QUEUED
        assert "association that carries the study is still open" in note(node)


def one_by_one(node: NodeInProcess, images: list[Dataset]) -> None:
    for image in images:
        node.send(image)


def series_by_series(node: NodeInProcess, images: list[Dataset]) -> None:
    for uid in ("1.2.3.1", "1.2.3.2"):
        node.send(*(one for one in images if one.SeriesInstanceUID == uid))


def interleaved_with_another_study(node: NodeInProcess, images: list[Dataset]) -> None:
    with open_association(node) as association:
        for number, image in enumerate(images):
            association.send_c_store(image)
            other = t1()[number % 7]
            other.StudyInstanceUID, other.SeriesInstanceUID = "9.9", "9.9.1"
            other.SOPInstanceUID = f"9.9.1.{number}"
            other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
            association.send_c_store(other)


def slowly(node: NodeInProcess, images: list[Dataset]) -> None:
    for image in images:
        node.send(image)
        node.wait(3)


def resumed_after_an_abort(node: NodeInProcess, images: list[Dataset]) -> None:
    entity = AE(ARCHIVE)
    entity.requested_contexts = [build_context("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)]
    association = entity.associate("127.0.0.1", node.listener.port, ae_title="SIJ")
    for image in images[:9]:
        association.send_c_store(image)
    association.abort()
    node.wait(4)
    node.send(*images)


def in_any_order(node: NodeInProcess, images: list[Dataset]) -> None:
    order = np.random.default_rng(2).permutation(len(images))
    node.send(*(images[number] for number in order))


def every_image_twice(node: NodeInProcess, images: list[Dataset]) -> None:
    node.send(*(image for image in images for _ in range(2)))


def stir_first(node: NodeInProcess, images: list[Dataset]) -> None:
    node.send(*reversed(images))


def at_once(node: NodeInProcess, images: list[Dataset]) -> None:
    node.send(*images)


WAYS = [
    *(at_once, one_by_one, series_by_series, interleaved_with_another_study, slowly),
    *(resumed_after_an_abort, in_any_order, every_image_twice, stir_first),
]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_a_study_is_analysed_once_and_whole_however_it_is_sent(node: NodeInProcess, way):
    way(node, [*t1(), *stir()])

    node.wait(8)

    (job,) = node.jobs(STUDY)
    assert (job.state, job.instances) == (State.QUEUED, 14)
    assert note(node).startswith("T1 and STIR received")


def test_a_study_by_two_routes_at_once_is_analysed_for_each(node: NodeInProcess):
    changed = [*t1(), *stir()]
    for image in changed:
        image.RetrieveAETitle, image.InstanceAvailability = "OTHER", "ONLINE"
    with ThreadPoolExecutor(2) as routes:
        first = routes.submit(node.send, *t1(), *stir())
        second = routes.submit(node.send, *changed, source="MODALITY")
    assert {*first.result(), *second.result()} == {0x0000}

    results = node.finish()

    assert sorted((job.source_ae, job.state) for job in node.jobs(STUDY)) == [
        ("ARCHIVE", State.DELIVERED),
        ("MODALITY", State.DELIVERED),
    ]
    reports = [one for one in results if "scores" in one.SeriesDescription]
    assert len(reports) == 2
    assert len({one.SOPInstanceUID for one in reports}) == 1


@pytest.mark.parametrize(("days", "is_cleared"), [(1, False), (13, False), (15, True)])
def test_a_study_sent_again_days_later_gets_no_result_twice(
    node: NodeInProcess, days: int, is_cleared: bool
):
    assert node.take(*t1(), *stir())
    later = datetime.now(UTC) + timedelta(days=days)
    clear_spool(node.table.database, node.spool, node.config.spool.retention_days, later)

    assert node.take(*t1(), *stir()) == []

    assert len(node.jobs(STUDY)) == 1 + is_cleared
    assert {job.state for job in node.jobs(STUDY)} == {State.DELIVERED}


# ---- asking the archive --------------------------------------------------------------------------


def test_a_study_waits_for_what_the_archive_has_of_it(tmp_path: Path):
    with node_in_process(tmp_path, peer={"missing_images": "query"}) as node:
        node.archive.images = [*t1(), *stir()]
        node.send(*t1()[:5], *stir()[:5])  # nothing in these images shows that two are missing

        node.wait(LONG_S - 1)

        assert (state(node), node.archive.asked) == (State.RECEIVING, ["find"])
        node.wait(2)
        assert "series 1.2.3.1: 5 of 7 images received" in note(node)
        said = "fewer images than the archive has (T1, 2 or more)"
        assert said in scores(node.finish()).to_json()
        assert said in node.admin.study(node.jobs(STUDY)[0].job_id).record.remarks[0]

        whole = node.take(*t1()[5:], *stir()[5:])

        assert "images may be missing" not in scores(whole).to_json()
        assert all("revision 2" in one.SeriesDescription for one in whole)


def test_missing_images_are_fetched_from_the_archive(tmp_path: Path):
    with node_in_process(tmp_path, peer={"missing_images": "move"}) as node:
        node.archive.images = [*t1(), *stir()]
        node.send(*t1(), *stir()[:5])

        node.wait(LONG_S + 2)

        (job,) = node.jobs(STUDY)
        assert (job.state, job.instances) == (State.QUEUED, 14)
        assert node.archive.asked[:2] == ["find", "move 1.2.3.2"]
        assert note(node).startswith("T1 and STIR received")


def test_a_series_that_was_never_sent_is_fetched_from_the_archive(tmp_path: Path):
    with node_in_process(tmp_path, peer={"missing_images": "move"}) as node:
        node.archive.images = [*t1(), *stir()]
        node.send(*t1())

        node.wait(LONG_S)

        assert node.jobs(STUDY)[-1].instances == 14
        assert {one.PatientID for one in node.finish()} == {"4711"}


def test_an_archive_that_cannot_be_asked_delays_no_study(tmp_path: Path):
    peer = {"missing_images": "query", "port": 1}
    with node_in_process(tmp_path, peer=peer) as node:
        node.send(*t1(), *stir())

        node.wait(LONG_S - 3)

        assert state(node) is State.QUEUED
