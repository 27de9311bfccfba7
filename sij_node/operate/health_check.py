"""Checks database, spool and processes, and judges the health of the node."""

from dataclasses import dataclass, replace

from sij_node.config.settings import Config
from sij_node.domain.health import Condition, HealthFacts, health
from sij_node.errors import DatabaseUnavailable, SpoolUnavailable
from sij_node.store.database import Database
from sij_node.store.job_statistics import failing_destinations, queue_status
from sij_node.store.process_table import ProcessTable
from sij_node.store.spool import Spool
from sij_node.store.storage_check_table import storage_status


@dataclass(frozen=True)
class HealthReport:
    """The facts, and the conditions derived from them."""

    facts: HealthFacts
    conditions: tuple[Condition, ...]


def check_health(config: Config, database: Database, spool: Spool) -> HealthReport:
    """Check everything; a component that does not answer is a condition, not an error."""
    facts = HealthFacts(
        min_free_mb=config.spool.min_free_mb,
        destinations=config.destination_titles,
    )
    facts = _with_database(_with_spool(facts, spool), database)
    return HealthReport(facts, health(facts, config.health))


def _with_spool(facts: HealthFacts, spool: Spool) -> HealthFacts:
    try:
        spool.check_writable()
        return replace(facts, free_mb=spool.free_mb())
    except SpoolUnavailable as error:
        return replace(facts, spool_error=str(error))


def _with_database(facts: HealthFacts, database: Database) -> HealthFacts:
    try:
        return replace(
            facts,
            processes=ProcessTable(database).seen(),
            queue=queue_status(database),
            stuck=failing_destinations(database),
            storage=storage_status(database),
        )
    except DatabaseUnavailable as error:
        return replace(facts, database_error=str(error))
