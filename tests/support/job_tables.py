"""Instances, results and jobs for tests of the job table."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from sij_node.domain.job import Job, Result, RetryPolicy
from sij_node.domain.study import ReceivedInstance
from sij_node.store.job_queries import jobs_of_study
from sij_node.store.job_table import JobTable

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"
NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
RESULT_CONTENT = b"a result"
"""The file of every result of `made`."""
KINDS = ("scores", "seg t1", "seg stir", "not analysed", "summary")
POLICY = RetryPolicy(max_attempts=3, first_wait_s=5, max_wait_s=300)


def received(number: int, study_uid: str = "1.2.3", **changes: object) -> ReceivedInstance:
    """The numbered image of a study, as PACS sends it."""
    uid = f"{study_uid}.9.{number}"
    digest = hashlib.sha256(uid.encode()).hexdigest()
    instance = ReceivedInstance(
        sop_instance_uid=uid,
        sop_class_uid=MR_IMAGE,
        transfer_syntax_uid=EXPLICIT_LITTLE,
        study_uid=study_uid,
        series_uid=f"{study_uid}.9",
        patient_id="P1",
        issuer_of_patient_id="",
        source_ae="PACS",
        file_name=f"{digest}.dcm",
        size_bytes=525_000,
        sha256=digest,
        received_at=NOON,
    )
    return replace(instance, **changes)


def made(kind: str = "scores", study_uid: str = "1.2.3") -> Result:
    """A result of a study."""
    uid = f"{study_uid}.8.{KINDS.index(kind)}"
    digest = hashlib.sha256(uid.encode()).hexdigest()
    return Result(
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
        kind=kind,
        series_uid=f"{study_uid}.8",
        file_name=f"{digest}.dcm",
        sha256=hashlib.sha256(RESULT_CONTENT).hexdigest(),
        size_bytes=len(RESULT_CONTENT),
        transfer_syntax_uid=EXPLICIT_LITTLE,
    )


def latest_job(table: JobTable, study_uid: str, source_ae: str) -> Job | None:
    """The latest job of a study and source."""
    of_study = jobs_of_study(table.database, study_uid)
    return next((job for job in reversed(of_study) if job.source_ae == source_ae), None)


def queued(
    table: JobTable, study_uid: str = "1.2.3", priority: int = 5, source_ae: str = "PACS"
) -> Job:
    """A queued job of a study with one image."""
    table.register(received(1, study_uid, source_ae=source_ae), priority, opens_job=True)
    job = latest_job(table, study_uid, source_ae)
    if job is None:
        raise LookupError(f"no job was opened for {study_uid}")
    return table.settle(job, "quiet")


def analysing(
    table: JobTable, study_uid: str = "1.2.3", worker: str = "worker 1", source_ae: str = "PACS"
) -> Job:
    """A job that a worker has claimed; it must be the only one in the queue."""
    queued(table, study_uid, source_ae=source_ae)
    job = table.claim(worker)
    if job is None:
        raise LookupError("nothing was queued")
    return job


def delivering(
    table: JobTable, *results: Result, study_uid: str = "1.2.3", source_ae: str = "PACS"
) -> Job:
    """A job with results pending for the source."""
    job = analysing(table, study_uid, source_ae=source_ae)
    return table.store_results(job, results or [made(study_uid=study_uid)], source_ae, "worker 1")
