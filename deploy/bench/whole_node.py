"""One study through an installed node: from C-STORE to the archive.

The node runs as an administrator starts it; the demo's small archive acts as the PACS.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

from deploy.bench.footprint import PeakMemory, footprint_of
from deploy.bench.ingest import Report
from deploy.bench.servers import MeasurementFailed, last_line, started
from deploy.demo.archive import Archive
from deploy.trial import set_up
from sij_node.config.settings import DeliveryConfig, PeerConfig
from sij_node.domain.job import Job, State, Step
from sij_node.errors import DestinationUnavailable
from sij_node.network.dicom_folder import contents_of
from sij_node.network.store_scu import StoreScu
from sij_node.store.database import open_database
from sij_node.store.job_queries import jobs_of_study, steps_of
from sij_node.store.job_table import JobTable
from trainer.phantom.case import PhantomCase
from trainer.phantom.dicom_files import write_study

RESULTS = 4
QUIET_S = 1
_ARCHIVE = "BENCH_ARCHIVE"
_READY = "networks ready"
_LIMIT_S = 90.0
_POLL_S = 0.02
_ENDED = {State.DELIVERED, State.REJECTED, State.FAILED, State.CANCELLED}


@dataclass(frozen=True)
class Passage:
    """Times of one study, and CPU time of all node processes.

    Parameters
    ----------
    analysed_s
        From claim until the results are in the outbox.
    stored_s
        From claim until the archive has stored the last result.
    sent_to_stored_s
        From the last image sent until the same moment, including the delay before a study is
        complete.
    """

    analysed_s: float
    stored_s: float
    sent_to_stored_s: float
    cpu_s: float


@dataclass(frozen=True)
class WholeNode:
    """Medians over several studies after a warm-up, and over several starts.

    Parameters
    ----------
    start_s
        From starting a worker until its networks are loaded.
    import_s
        Starting Python and importing torch only.
    peak_mb
        Listener, worker and analysis process together.
    """

    passage: Passage
    peak_mb: float
    start_s: float
    import_s: float
    repeats: int


@dataclass(frozen=True)
class _Place:
    """Folder, configuration and peers of the node."""

    folder: Path
    config: Path
    peer: PeerConfig
    archive: Archive


def measure_node(
    folder: Path, weights: Path | None, case: PhantomCase, repeats: int, report: Report
) -> WholeNode:
    """Measure studies sent through a node.

    Parameters
    ----------
    weights
        None for the shipped weights.

    Raises
    ------
    MeasurementFailed
        If the node does not start, or a study's results do not arrive.
    """
    folder.mkdir(parents=True)
    with Archive(folder / "archive", _ARCHIVE) as archive:
        place = _place(folder, weights, archive)
        starts = [_start_s(place, report, repeat + 1) for repeat in range(repeats)]
        imports = [_import_s(folder) for _ in range(repeats)]
        passages, peak_mb = _passages(place, case, repeats, report)
    return WholeNode(_median(passages), peak_mb, median(starts), median(imports), repeats)


def _place(folder: Path, weights: Path | None, archive: Archive) -> _Place:
    worker = {"weights_folder": str(weights.resolve())} if weights else {}
    trial = set_up(folder, _ARCHIVE, archive.port, study={"stable_age_s": QUIET_S}, worker=worker)
    return _Place(folder, trial.config, trial.peer, archive)


def _command(name: str, place: _Place) -> list[str]:
    return [sys.executable, "-m", "sij_node", name, "--config", str(place.config)]


def _start_s(place: _Place, report: Report, number: int) -> float:
    report(f"node: starting a worker, {number}")
    log = place.folder / f"work {number}.log"
    began = time.perf_counter()
    with started(_command("work", place), log) as process:
        _wait_until(lambda: _READY in log.read_text("utf-8") or process.poll() is not None, log)
        seconds = time.perf_counter() - began
        if _READY not in log.read_text("utf-8"):
            raise MeasurementFailed(f"the worker did not start: {last_line(log)}")
    return seconds


def _import_s(folder: Path) -> float:
    began = time.perf_counter()
    with started([sys.executable, "-c", "import torch"], folder / "import.log") as process:
        process.wait(_LIMIT_S)
        return time.perf_counter() - began


def _passages(
    place: _Place, case: PhantomCase, repeats: int, report: Report
) -> tuple[list[Passage], float]:
    log = place.folder / "node.log"
    with started(_command("run", place), log) as process, PeakMemory(process.pid) as memory:
        report("node: starting")
        _wait_until(lambda: _READY in log.read_text("utf-8"), log)
        engine = open_database(f"sqlite:///{place.folder / 'data' / 'jobs.sqlite'}")
        passages = []
        for number in range(repeats + 1):
            report(f"node: study {number} of {repeats}")
            passages.append(_passage(place, case, JobTable(engine), process.pid, number, log))
        engine.dispose()
    return passages[1:], memory.peak_mb


def _passage(
    place: _Place, case: PhantomCase, table: JobTable, pid: int, number: int, log: Path
) -> Passage:
    images = place.folder / f"study {number}"
    uid = f"2.25.{uuid4().int}"
    write_study(case, images, study_uid=uid)
    _send(images, place.peer)
    before = footprint_of(pid).cpu_s
    sent = datetime.now(UTC)
    if not place.archive.wait_for(RESULTS * (number + 1), _LIMIT_S):
        raise MeasurementFailed(f"results of a study did not arrive: {last_line(log)}")
    stored = datetime.now(UTC)
    cpu_s = footprint_of(pid).cpu_s - before
    job = _ended(table, uid, log)
    at = {step.step: step.at for step in steps_of(table.database, job.job_id)}
    claimed, analysed = at[Step.CLAIMED], at[Step.RESULTS_STORED]
    return Passage(
        (analysed - claimed).total_seconds(),
        (stored - claimed).total_seconds(),
        (stored - sent).total_seconds(),
        cpu_s,
    )


def _send(images: Path, peer: PeerConfig) -> None:
    answers = list(StoreScu(_ARCHIVE, DeliveryConfig()).send(peer, contents_of(images).objects))
    if not all(answer.acknowledged for answer in answers):
        raise DestinationUnavailable("The node did not store every image.")


def _ended(table: JobTable, study_uid: str, log: Path) -> Job:
    _wait_until(lambda: _job(table, study_uid).state in _ENDED, log)
    job = _job(table, study_uid)
    if job.state is not State.DELIVERED:
        raise MeasurementFailed(f"a study became {job.state}: {job.reason}")
    return job


def _job(table: JobTable, study_uid: str) -> Job:
    jobs = jobs_of_study(table.database, study_uid)
    if not jobs:
        raise MeasurementFailed("the node has no job for a study it stored")
    return jobs[-1]


def _wait_until(reached: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not reached():
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"nothing happened within {_LIMIT_S:g} s: {last_line(log)}")
        time.sleep(_POLL_S)


def _median(passages: Sequence[Passage]) -> Passage:
    return Passage(
        median(one.analysed_s for one in passages),
        median(one.stored_s for one in passages),
        median(one.sent_to_stored_s for one in passages),
        median(one.cpu_s for one in passages),
    )
