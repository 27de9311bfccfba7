"""Tables of a node with studies in every state, some with hostile text."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, String, insert, literal, select, true, union_all

from sij_node.domain.analysis_record import AnalysisRecord, SeriesUse, UsedNetwork
from sij_node.domain.job import DeliveryState, Job, RetryPolicy, State, Step
from sij_node.domain.study import Refusal
from sij_node.errors import DestinationUnavailable, InternalFault, PairMissing
from sij_node.store.job_table import JobTable
from sij_node.store.refusals import add_refusal
from sij_node.store.spool import Spool
from sij_node.store.tables import deliveries, instances, job_steps, jobs, results
from tests.support.job_tables import analysing, latest_job, made, queued, received
from tests.support.small_study import drawn_study

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'
NETWORKS = tuple(
    UsedNetwork(name, "0.2.0", digest * 32, "Trained on phantoms, not for clinical use")
    for name, digest in (("contour", "ab"), ("lesion", "cd"))
)
SERIES = (
    SeriesUse("1.2.3.1", "1", "localiser", 3, "other", False, "not used: localiser"),
    SeriesUse("1.2.3.2", "2", "T1 tse cor", 20, "T1", True, "used as T1: TR 550, TE 11 ms"),
    SeriesUse("1.2.3.3", "3", "STIR cor", 20, "STIR", True, "used as STIR: TR 4200, TE 40 ms"),
    SeriesUse(
        "1.2.3.4",
        "4",
        HOSTILE,
        24,
        "other",
        False,
        "not used: axial orientation (90° from coronal)",
    ),
)
ONCE = RetryPolicy(max_attempts=1, first_wait_s=1, max_wait_s=1)
OFTEN = RetryPolicy(max_attempts=9, first_wait_s=60, max_wait_s=60)


def a_record(spool: Spool) -> AnalysisRecord:
    """A stored analysis record, with its images in the spool."""
    from sij_node.results.key_image_previews import drawn, key_pictures  # noqa: PLC0415 - loads torch

    study = drawn_study()
    pictures = key_pictures(study, "ab" * 32)
    for picture, content in zip(pictures, drawn(study), strict=True):
        spool.keep_result(content, picture.file_name)
    return AnalysisRecord(SERIES, tuple(study.findings), NETWORKS, (), pictures)


def delivered(table: JobTable, record: AnalysisRecord, study_uid: str = "1.2.10") -> Job:
    """A delivered study."""
    results = [made(kind, study_uid) for kind in ("summary", "seg t1", "seg stir", "scores")]
    job = analysing(table, study_uid)
    job = table.store_results(
        job, results, "PACS", "host:71", "contour 0.2.0, lesion 0.2.0", record=record
    )
    job = table.claim_delivery("host:71")
    for result in results:
        table.record_delivery(job, result.sop_instance_uid, "PACS", 0, acknowledged=True)
    return table.delivered(job, "host:71")


def rejected(table: JobTable, study_uid: str = "1.2.11") -> Job:
    """A study without a STIR."""
    error = PairMissing(
        "The study has no usable coronal STIR series; a T1 and a STIR are needed. "
        "Series received: 1.2.3.2 is a T1 (TR 550, TE 11 ms). Send what is missing."
    )
    record = AnalysisRecord(series=tuple(replace(one, used=False) for one in SERIES[:2]))
    return table.reject(analysing(table, study_uid), error, [], "PACS", "host:71", record)


def failed(table: JobTable, study_uid: str = "1.2.12") -> Job:
    """A study that could not be analysed, with markup in the reason."""
    job = analysing(table, study_uid)
    return table.fail(job, InternalFault(f"The analysis stopped: {HOSTILE}"), ONCE, HOSTILE)


def undelivered(table: JobTable, record: AnalysisRecord, study_uid: str = "1.2.13") -> Job:
    """A study whose destination does not respond; the next retry is in a minute."""
    job = analysing(table, study_uid)
    table.store_results(
        job, [made("scores", study_uid)], "PACS", "host:71", "contour 0.2.0", record=record
    )
    job = table.claim_delivery("host:71")
    silent = DestinationUnavailable("PACS at pacs:104 cannot be reached: connection refused.")
    return table.fail(job, silent, OFTEN, "host:71")


def fill(table: JobTable, spool: Spool) -> dict[State, Job]:
    """One study in each state."""
    record = a_record(spool)
    found = {
        State.DELIVERED: delivered(table, record),
        State.REJECTED: rejected(table),
        State.FAILED: failed(table),
        State.DELIVERING: undelivered(table, record),
    }
    found[State.ANALYSING] = analysing(table, "1.2.14", "host:71")
    found[State.QUEUED] = queued(table, "1.2.15", priority=7)
    table.register(received(1, "1.2.16", patient_id=HOSTILE), 5, opens_job=True)
    found[State.RECEIVING] = latest_job(table, "1.2.16", "PACS")
    found[State.CANCELLED] = table.cancel(queued(table, "1.2.17"), HOSTILE)
    add_refusal(
        table.database,
        Refusal(
            datetime.now(UTC), "<b>EVIL</b>", "192.0.2.7", "", "", 0, f"unknown title {HOSTILE}"
        ),
    )
    return found


IMAGES_OF_A_STUDY = 40
_LIFE = (
    (Step.OPENED, None, State.RECEIVING),
    (Step.SETTLED, State.RECEIVING, State.QUEUED),
    (Step.CLAIMED, State.QUEUED, State.ANALYSING),
    (Step.RESULTS_STORED, State.ANALYSING, State.DELIVERING),
    (Step.ACKNOWLEDGED, State.DELIVERING, State.DELIVERED),
)


def add_many(table: JobTable, count: int) -> None:
    """Jobs of the last month with images, steps and results, straight into empty tables."""
    now = datetime.now(UTC)
    states = [State.DELIVERED] * 17 + [State.REJECTED, State.FAILED, State.QUEUED]
    rows = [_row(number, states[number % len(states)], now) for number in range(count)]
    images = [
        vars(received(1, f"9.{number}", source_ae="PACS", patient_id=f"P{number % 900}"))
        for number in range(count)
    ]
    with table.database.writing() as connection:
        connection.execute(insert(jobs), rows)
        connection.execute(insert(instances), images)
        _add_images(connection)
        for step in _LIFE:
            _add_step(connection, *step)
        for kind in ("scores", "seg t1", "seg stir"):
            _add_result(connection, kind)


def _add_images(connection: Connection) -> None:
    """The other images of each study, like its first."""
    image = instances.c
    others = [column for column in image if column is not image.sop_instance_uid]
    further = range(2, IMAGES_OF_A_STUDY + 1)
    ends = union_all(
        *(select(literal(f".9.{number}").label("end")) for number in further)
    ).subquery()
    like_it = (
        select(image.study_uid + ends.c.end, *others)
        .select_from(instances.join(ends, true()))
        .where(image.sop_instance_uid.endswith(".9.1"))
    )
    connection.execute(insert(instances).from_select(["sop_instance_uid", *others], like_it))


def _add_step(connection: Connection, step: Step, before: State | None, after: State) -> None:
    """One step of each job, whatever its state."""
    taken = {
        "job_id": jobs.c.job_id,
        "step": literal(step.value),
        "from_state": literal(before and before.value, String),
        "to_state": literal(after.value),
        "who": literal("worker 1"),
        "note": literal(""),
        "at": jobs.c.created_at if after in (State.RECEIVING, State.QUEUED) else jobs.c.changed_at,
    }
    line = select(*taken.values()).order_by(jobs.c.job_id)
    connection.execute(insert(job_steps).from_select([*taken], line))


def _add_result(connection: Connection, kind: str) -> None:
    """One acknowledged result of each delivered job."""
    like_it, is_delivered = made(kind), jobs.c.state == State.DELIVERED.value
    uid = jobs.c.study_uid + f".8.{kind}"
    kept = {name: literal(value) for name, value in vars(like_it).items()}
    kept |= {"sop_instance_uid": uid, "job_id": jobs.c.job_id}
    taken = {"job_id": jobs.c.job_id, "result_uid": uid, "destination": literal("PACS")}
    taken |= {"state": literal(DeliveryState.ACKNOWLEDGED.value), "attempts": literal(1)}
    taken |= {"status": literal(0), "note": literal(""), "acknowledged_at": jobs.c.changed_at}
    for table, row in ((results, kept), (deliveries, taken)):
        rows = select(*row.values()).where(is_delivered)
        connection.execute(insert(table).from_select([*row], rows))


def _row(number: int, state: State, now: datetime) -> dict[str, object]:
    at = now - timedelta(minutes=4 * number)
    return {
        "study_uid": f"9.{number}",
        "source_ae": "PACS",
        "state": state.value,
        "revision": 5,
        "priority": number % 10,
        "analysis_attempts": 1,
        "delivery_attempts": 1,
        "leased_by": "",
        "heartbeat": 0,
        "wait_s": 0.0,
        "reason": HOSTILE if state is State.FAILED else "",
        "error_family": "InternalFault" if state is State.FAILED else "",
        "weights": "contour 0.2.0, lesion 0.2.0",
        "predecessor_id": None,
        "created_at": at - timedelta(minutes=1),
        "changed_at": at,
        "instances": 40,
        "priority_by": "",
        "weights_wanted": "",
    }
