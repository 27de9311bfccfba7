"""A node's tables with at least one event of each kind that the metrics count."""

from sqlalchemy import insert

from models.findings import POSITIONS, Presence
from sij_node.domain.health import ProcessRole
from sij_node.domain.job import RetryPolicy, State
from sij_node.domain.verdicts import Verdict
from sij_node.errors import DestinationUnavailable
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityLog, PeerCounter
from sij_node.store.process_table import this_process
from sij_node.store.tables import analyses, analysis_findings, jobs
from sij_node.store.verdict_table import add_verdicts
from tests.support.job_tables import NOON, delivering
from tests.support.running_web import RunningWeb

POLICY = RetryPolicy(max_attempts=5, first_wait_s=5, max_wait_s=300)


def add_studies(table: JobTable, number: int, first: int, pixel_mm: float, share: float) -> None:
    """Analysed studies of PACS in the tables."""
    rows = range(first, first + number)
    state = {"study_uid": "", "revision": 1, "priority": 5, "analysis_attempts": 1}
    state |= {"delivery_attempts": 1, "leased_by": "", "heartbeat": 0, "wait_s": 0, "reason": ""}
    state |= {"error_family": "", "weights": "contour 1, lesion 1", "instances": 40}
    state |= {"source_ae": "PACS", "state": State.DELIVERED.value}
    state |= {"created_at": NOON, "changed_at": NOON}
    with table.database.writing() as connection:
        connection.execute(
            insert(jobs), [{**state, "job_id": n, "study_uid": f"1.2.{n}"} for n in rows]
        )
        figures = {"T1 pixel mm": pixel_mm, "T1 slices": 20.0}
        kept = {"networks": [], "remarks": [], "figures": figures}
        connection.execute(insert(analyses), [{"job_id": n, **kept} for n in rows])
        place = {"place": 0, "side": "left", "lesion": "oedema", "region": "upper ilium"}
        connection.execute(
            insert(analysis_findings),
            [
                {
                    **place,
                    "job_id": n,
                    "threshold": 0.4,
                    "probability": 0.9 if (n - first) < share * number else 0.1,
                }
                for n in rows
            ],
        )


def everything_happens(web: RunningWeb) -> None:
    """Record at least one event of each kind."""
    book = PeerActivityLog(web.store.contacts)
    book.accepted("PACS", "10.0.0.1")
    book.count(PeerCounter.RECEIVED, "PACS", "0x0000")
    book.count(PeerCounter.SENT, "PACS", "0xA700")
    book.count(PeerCounter.REFUSALS, "unknown", "calling AE title is not a configured peer")
    book.count(PeerCounter.ASSOCIATIONS, "PACS", "released")
    book.count(PeerCounter.ASSOCIATIONS, "PACS", "aborted")
    book.count(PeerCounter.FAILED_DELIVERIES, "PACS", "failed")
    book.write()
    worker = this_process(ProcessRole.WORKER)
    web.store.processes.record_heartbeat(
        type(worker)(**{**vars(worker), "device": "cuda:0", "gpu_used_mb": 9, "gpu_total_mb": 99})
    )
    job = delivering(web.table)
    web.table.fail(web.table.claim_delivery("c"), DestinationUnavailable("away"), POLICY, "courier")
    accepted = Verdict(POSITIONS[0], Presence.PRESENT, Presence.PRESENT, "mia", NOON)
    add_verdicts(web.table.database, job.job_id, [accepted])
    add_studies(web.table, 100, 1000, 0.5, 0.2)
    add_studies(web.table, 50, 2000, 0.7, 0.9)
