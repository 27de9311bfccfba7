"""What the page and the API are put together from."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection

from sij_node.audit import messages as audit
from sij_node.config.roles import Role
from sij_node.config.settings import Config, PeerConfig
from sij_node.domain.job import Job
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.users import CurrentUser, needed
from sij_node.errors import DestinationUnavailable
from sij_node.operate.admin import Admin
from sij_node.operate.authentication import Authentication
from sij_node.store.peer_activity import PeerActivityLog, PeerActivityTable
from sij_node.store.spool import Spool


@dataclass(frozen=True)
class Parts:
    """Everything the web application uses; nothing is looked up elsewhere.

    Parameters
    ----------
    admin
        The questions and actions, in the name of whoever asks.
    echo
        C-ECHO to a peer; raises `DestinationUnavailable`.
    clock
        Now, in UTC.
    key
        The node's secret key.
    record
        Takes messages of the audit trail.
    routers
        Further routes that other parts of the node bring, for instance its metrics.
    """

    config: Config
    admin: Callable[[str], Admin]
    access: Authentication
    spool: Spool
    echo: Callable[[PeerConfig], None]
    clock: Callable[[], datetime]
    key: bytes
    record: Callable[[audit.AuditMessage], None]
    routers: tuple[APIRouter, ...] = ()

    def pseudonym(self, patient_id: str, issuer: str) -> str:
        """What stands for a patient on lists: the same for the same patient on this node."""
        return keyed_hash(self.key, "patient", patient_id, issuer)[:12]

    def call(self, peer: PeerConfig) -> str:
        """C-ECHO to a peer; how it went is noted for the list of peers.

        Returns
        -------
        str
            Why it did not answer, and what to do; empty when it did.
        """
        book, error = PeerActivityLog(PeerActivityTable(self.admin("").table.database)), ""
        try:
            self.echo(peer)
        except DestinationUnavailable as unanswered:
            error = str(unanswered)
        book.echo_sent(peer.ae_title, error)
        book.write()
        return error

    def reveal(self, person: CurrentUser, job: Job) -> str:
        """The identifier of a job's patient, for somebody; it is noted under their name.

        Raises
        ------
        RoleTooLow, ImagesCleared
        """
        identifier = self.admin(needed(person, Role.OPERATOR).name).patient(job.job_id)
        self.tell_of_access(person, job, "patient revealed")
        return identifier

    def tell_of_access(self, person: CurrentUser, job: Job, what: str) -> None:
        """Have the audit trail know that somebody saw or took something of a study."""
        images = self.admin(person.name).table.instances(job.study_uid)
        patient_id = images[0].patient_id if images else ""
        study = audit.AuditedStudy(job.study_uid, patient_id)
        who = audit.HumanUser(person.name, person.address)
        self.record(audit.instances_accessed(who, study, what))


def parts(connection: HTTPConnection) -> Parts:
    """The parts of the application that a request came to."""
    found: Parts = connection.app.state.parts
    return found


TheParts = Annotated[Parts, Depends(parts)]
