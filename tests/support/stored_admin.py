"""`operate.admin` on stored data alone, without a running node."""

from collections.abc import Callable
from pathlib import Path

from sij_node.audit.messages import AuditMessage, HumanUser
from sij_node.config.settings import AnyDestination, Config, PeerConfig, WeightsConfig
from sij_node.operate.admin import Admin
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool

PACS = PeerConfig(ae_title="PACS", networks=("127.0.0.1",), host="127.0.0.1", port=104)
TRIAL = WeightsConfig(name="trial", folder=Path("trial"))


def admin_of(
    table: JobTable,
    spool: Spool,
    *peers: PeerConfig,
    record: Callable[[AuditMessage], None] = lambda message: None,
    destination: tuple[AnyDestination, ...] = (),
) -> Admin:
    """The administrator Mia of a node with these peers (default PACS) and the weights ``trial``."""
    config = Config.model_construct(
        peer=peers or (PACS,), weights=(TRIAL,), destination=destination
    )
    return Admin(config, table, spool, record, lambda peer: None, b"key", HumanUser("mia"))
