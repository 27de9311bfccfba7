"""Speed of the job table on SQLite, compared with a bare commit of one row on the same disk."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from deploy.bench.ingest import Report
from deploy.bench.instances import PER_STUDY
from sij_node.domain.job import Job
from sij_node.domain.study import ReceivedInstance
from sij_node.store.database import open_database
from sij_node.store.job_queries import jobs_of_study
from sij_node.store.job_table import JobTable
from sij_node.store.spool import instance_file_name

BARE = "bare commit of one row"
_COMMITS = 200
_REGISTRATIONS = 400
_JOBS = 100
_THREADS = 16


@dataclass(frozen=True)
class Operation:
    """Medians over several rounds, and the ratio to the bare commit of the same round.

    Parameters
    ----------
    wall_ms, cpu_ms
        Per instance, job or row; CPU time of this process.
    """

    name: str
    ratio: float
    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class _Cost:
    wall_ms: float
    cpu_ms: float


def measure_jobs(folder: Path, repeats: int, report: Report) -> tuple[Operation, ...]:
    """Measure registering instances, claiming jobs and finishing them."""
    folder.mkdir(parents=True)
    engine = open_database(f"sqlite:///{folder / 'jobs.sqlite'}")
    table = JobTable(engine)
    rounds = []
    try:
        for repeat in range(repeats):
            report(f"job table, {repeat + 1} of {repeats}")
            rounds.append(_round(folder, table))
    finally:
        engine.dispose()
    return tuple(_median(name, rounds) for name in rounds[0])


def _round(folder: Path, table: JobTable) -> dict[str, _Cost]:
    return {
        BARE: _bare_commits(folder / "bare.sqlite"),
        "register an instance, 1 thread": _registered(table, 1),
        f"register an instance, {_THREADS} threads": _registered(table, _THREADS),
        "claim a job and finish it": _claimed(table),
    }


def _bare_commits(file: Path) -> _Cost:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS kept (uid TEXT PRIMARY KEY, rest TEXT)")
        return _timed(
            lambda: [
                connection.execute("INSERT INTO kept VALUES (?, ?)", (_uid(), "x" * 400))
                for _ in range(_COMMITS)
            ],
            _COMMITS,
        )


def _registered(table: JobTable, threads: int) -> _Cost:
    arriving = _instances(_REGISTRATIONS)
    with ThreadPoolExecutor(threads) as pool:
        return _timed(
            lambda: list(pool.map(lambda one: table.register(one, 5, True), arriving)),
            _REGISTRATIONS,
        )


def _claimed(table: JobTable) -> _Cost:
    for instance in _instances(_JOBS, per_study=1):
        table.register(instance, 9, True)
        (job,) = jobs_of_study(table.database, instance.study_uid)
        table.settle(job, "bench")
    return _timed(lambda: [_finish_one(table) for _ in range(_JOBS)], _JOBS)


def _finish_one(table: JobTable) -> Job:
    job = table.claim("bench")
    if job is None:
        raise ValueError("a job that was queued cannot be claimed")
    return table.store_results(job, (), "BENCH", "bench")


def _timed(work: Callable[[], object], count: int) -> _Cost:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return _Cost(
        1000 * (time.perf_counter() - began) / count, 1000 * (time.process_time() - cpu) / count
    )


def _instances(count: int, per_study: int = PER_STUDY) -> list[ReceivedInstance]:
    studies = [_uid() for _ in range(-(-count // per_study))]
    return [_instance(studies[number // per_study]) for number in range(count)]


def _instance(study_uid: str) -> ReceivedInstance:
    uid = _uid()
    return ReceivedInstance(
        sop_instance_uid=uid,
        sop_class_uid=MRImageStorage,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        study_uid=study_uid,
        series_uid=f"{study_uid}.1",
        patient_id="BENCH",
        issuer_of_patient_id="",
        source_ae="BENCH",
        file_name=instance_file_name(uid),
        size_bytes=580_000,
        sha256=secrets.token_hex(32),
        received_at=datetime.now(UTC),
    )


def _uid() -> str:
    return f"2.25.{secrets.randbelow(10**36)}"


def _median(name: str, rounds: Sequence[dict[str, _Cost]]) -> Operation:
    return Operation(
        name,
        median(one[name].wall_ms / one[BARE].wall_ms for one in rounds),
        median(one[name].wall_ms for one in rounds),
        median(one[name].cpu_ms for one in rounds),
    )
