"""The tables of the database, and the conversion of their rows to domain objects.

Constraints enforce what must never be violated: one row per SOP Instance UID, and one open job per
study and source.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

from sij_node.config.user_roles import Role
from sij_node.domain.health import Process, ProcessRole
from sij_node.domain.job import Delivery, DeliveryState, Hold, Job, JobStep, Result, State, Step
from sij_node.domain.study import CopyKind, CopyState, ReceivedCopy, ReceivedInstance, Refusal
from sij_node.domain.users import AdminChange, Session, Token, User


class Utc(TypeDecorator[datetime]):
    """A date and time in UTC, with time zone on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC, because SQLite stores no time zone."""
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the time zone that SQLite does not store."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ReceivedText(TypeDecorator[str]):
    """Text from outside, which may contain characters that databases reject."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace NUL and lone surrogates by the replacement character."""
        if value is None:
            return None
        return storable(value)


def storable(value: str) -> str:
    """A text with NUL and lone surrogates replaced by the replacement character."""
    whole = value.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\x00", "\N{REPLACEMENT CHARACTER}")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

UID = String(64)
TITLE = String(16)

instances = Table(
    "instances",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("study_uid", UID, nullable=False, index=True),
    Column("series_uid", UID, nullable=False),
    Column("patient_id", ReceivedText, nullable=False, index=True),
    Column("issuer_of_patient_id", ReceivedText, nullable=False),
    Column("source_ae", TITLE, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("received_at", Utc, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Integer, primary_key=True),
    Column("study_uid", UID, nullable=False),
    Column("source_ae", TITLE, nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("analysis_attempts", Integer, nullable=False),
    Column("delivery_attempts", Integer, nullable=False),
    Column("leased_by", Text, nullable=False),
    Column("heartbeat", BigInteger, nullable=False),
    Column("wait_s", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("error_family", String(32), nullable=False),
    Column("weights", Text, nullable=False),
    Column("predecessor_id", Integer, ForeignKey("jobs.job_id")),
    Column("created_at", Utc, nullable=False),
    Column("changed_at", Utc, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("priority_by", Text, nullable=False, server_default=""),
    Column("weights_wanted", Text, nullable=False, server_default=""),
    CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
    Index("ix_jobs_study_uid_source_ae", "study_uid", "source_ae"),
    Index("ix_jobs_queue", "state", "priority", "job_id"),
    Index("ix_jobs_state_job_id", "state", "job_id"),
    Index("ix_jobs_source_ae_job_id", "source_ae", "job_id"),
    sqlite_autoincrement=True,  # a job number is never used twice
)

_is_open = text("state IN ('receiving', 'queued')")
Index(
    "one_open_job",
    jobs.c.study_uid,
    jobs.c.source_ae,
    unique=True,
    sqlite_where=_is_open,
    postgresql_where=_is_open,
)

job_steps = Table(
    "job_steps",
    metadata,
    Column("step_id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("step", String(32), nullable=False),
    Column("from_state", String(16)),
    Column("to_state", String(16), nullable=False),
    Column("who", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Utc, nullable=False, index=True),
)

results = Table(
    "results",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("series_uid", UID, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.job_id"), primary_key=True),
    Column("result_uid", UID, ForeignKey("results.sop_instance_uid"), primary_key=True),
    Column("destination", TITLE, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer),
    Column("note", Text, nullable=False),
    Column("acknowledged_at", Utc),
    Column("committed_at", Utc),
    Index("ix_deliveries_result_uid_destination", "result_uid", "destination"),
)

_is_pending = text("state = 'pending'")
Index(
    "ix_deliveries_pending",
    deliveries.c.destination,
    deliveries.c.job_id,
    sqlite_where=_is_pending,
    postgresql_where=_is_pending,
)

holds = Table(
    "holds",
    metadata,
    Column("hold_id", Integer, primary_key=True),
    Column("destination", TITLE, nullable=False),
    Column("reason", ReceivedText, nullable=False),
    Column("held_by", Text, nullable=False),
    Column("held_at", Utc, nullable=False),
    Column("released_by", Text, nullable=False),
    Column("released_at", Utc),
    sqlite_autoincrement=True,
)

_lasts = text("released_at IS NULL")
Index("one_hold", holds.c.destination, unique=True, sqlite_where=_lasts, postgresql_where=_lasts)

analyses = Table(
    "analyses",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.job_id"), primary_key=True),
    Column("networks", JSON, nullable=False),
    Column("remarks", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("asas_met", Boolean, nullable=True),
    Column("prior", JSON(none_as_null=True), nullable=True),
    Column("burden", JSON(none_as_null=True), nullable=True),
)

analysis_series = Table(
    "analysis_series",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.job_id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("series_uid", UID, nullable=False),
    Column("number", ReceivedText, nullable=False),
    Column("description", ReceivedText, nullable=False),
    Column("images", Integer, nullable=False),
    Column("role", String(32), nullable=False),
    Column("used", Boolean, nullable=False),
    Column("reason", ReceivedText, nullable=False),
)

analysis_findings = Table(
    "analysis_findings",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.job_id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("side", String(8), nullable=False),
    Column("lesion", String(16), nullable=False),
    Column("region", String(16), nullable=False),
    Column("probability", Float),
    Column("threshold", Float, nullable=False),
    Column("operating_point", String(16), nullable=True),
)

analysis_pictures = Table(
    "analysis_pictures",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.job_id"), primary_key=True),
    Column("file_name", String(96), primary_key=True),
    Column("place", Integer, nullable=False),
    Column("sequence", String(8), nullable=False),
    Column("image", ReceivedText, nullable=False),
    Column("seen", JSON, nullable=False),
    Column("labels", JSON(none_as_null=True), nullable=True),
)

study_attributes = Table(
    "study_attributes",
    metadata,
    Column("study_uid", UID, primary_key=True),
    Column("study_date", String(10), nullable=False),
    Column("description", ReceivedText, nullable=False),
    Column("accession_number", ReceivedText, nullable=False, index=True),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("verdict_id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("side", String(8), nullable=False),
    Column("lesion", String(16), nullable=False),
    Column("region", String(16), nullable=False),
    Column("called", String(16), nullable=False),
    Column("stated", String(16), nullable=False),
    Column("reader", String(64), nullable=False),
    Column("at", Utc, nullable=False),
    sqlite_autoincrement=True,
)

refusals = Table(
    "refusals",
    metadata,
    Column("refusal_id", Integer, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("source_ae", ReceivedText, nullable=False),
    Column("address", ReceivedText, nullable=False),
    Column("sop_instance_uid", ReceivedText, nullable=False),
    Column("study_uid", ReceivedText, nullable=False, index=True),
    Column("status", Integer, nullable=False),
    Column("reason", ReceivedText, nullable=False),
    Column("quarantined_as", ReceivedText, nullable=False),
    Column("conflict", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

received_copies = Table(
    "received_copies",
    metadata,
    Column("copy_id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("sop_instance_uid", UID, nullable=False, index=True),
    Column("study_uid", UID, nullable=False, index=True),
    Column("stored_study_uid", UID, nullable=False, index=True),
    Column("offered", JSON, nullable=False),
    Column("stored", JSON, nullable=False),
    Column("differs", Text, nullable=False),
    Column("identity", String(64), nullable=False),
    Column("stored_identity", String(64), nullable=False),
    Column("quarantined_as", Text, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", Utc),
    Column("jobs_before", Integer, nullable=False),
    sqlite_autoincrement=True,
)

NAME = String(64)
HASH = String(64)

users = Table(
    "users",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("openid_subject", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Utc, nullable=False),
)

_has_subject = text("openid_subject <> ''")
Index(
    "one_openid_subject",
    users.c.openid_subject,
    unique=True,
    sqlite_where=_has_subject,
    postgresql_where=_has_subject,
)

sessions = Table(
    "sessions",
    metadata,
    Column("secret_hash", HASH, primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("address", ReceivedText, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("seen_at", Utc, nullable=False),
)

invitations = Table(
    "invitations",
    metadata,
    Column("user_name", NAME, ForeignKey("users.name"), primary_key=True),
    Column("secret_hash", HASH, nullable=False),
    Column("expires_at", Utc, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", Integer, primary_key=True),
    Column("secret_hash", HASH, nullable=False, unique=True),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("label", ReceivedText, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("used_at", Utc),
    Column("revoked_at", Utc),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    Column("change_id", Integer, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("note", Text, nullable=False),
    sqlite_autoincrement=True,
)

processes = Table(
    "processes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("beaten_at", Utc, nullable=False),
    Column("device", Text, nullable=False),
    Column("gpu_used_mb", Float),
    Column("gpu_total_mb", Float),
    Column("job_id", Integer),
    Column("weights", Text, nullable=False),
    Column("weights_sha256", Text, nullable=False),
)

contacts = Table(
    "contacts",
    metadata,
    Column("peer", TITLE, primary_key=True),
    Column("address", ReceivedText, nullable=False),
    Column("accepted_at", Utc),
    Column("refused_at", Utc),
    Column("refused_because", ReceivedText, nullable=False),
    Column("echo_in_at", Utc),
    Column("echo_out_at", Utc),
    Column("echo_out_error", ReceivedText, nullable=False),
)

tallies = Table(
    "tallies",
    metadata,
    Column("counted", String(32), primary_key=True),
    Column("peer", TITLE, primary_key=True),
    Column("outcome", String(64), primary_key=True),
    Column("total", BigInteger, nullable=False),
)

alarms = Table(
    "alarms",
    metadata,
    Column("channel", String(16), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("words", Text, nullable=False),
    Column("since", Utc, nullable=False),
    Column("told_at", Utc, nullable=False),
    Column("mark", BigInteger, nullable=False),
)

commitments = Table(
    "commitments",
    metadata,
    Column("commitment_id", Integer, primary_key=True),
    Column("transaction_uid", UID, nullable=False, unique=True),
    Column("job_id", Integer, ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("destination", TITLE, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("objects", JSON, nullable=False),
    Column("note", Text, nullable=False),
    Column("changed_at", Utc, nullable=False),
    sqlite_autoincrement=True,
)

peer_commitments = Table(
    "peer_commitments",
    metadata,
    Column("request_id", Integer, primary_key=True),
    Column("transaction_uid", UID, nullable=False),
    Column("peer", TITLE, nullable=False),
    Column("objects", JSON, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("answered_at", Utc),
    Column("note", Text, nullable=False),
    Index("one_peer_commitment", "peer", "transaction_uid", unique=True),
    sqlite_autoincrement=True,
)

committed_studies = Table(
    "committed_studies",
    metadata,
    Column("study_uid", UID, primary_key=True),
    Column("kept_until", Utc, nullable=False),
)

series_at_archive = Table(
    "series_at_archive",
    metadata,
    Column("study_uid", UID, primary_key=True),
    Column("series_uid", UID, primary_key=True),
    Column("images", Integer, nullable=False),
)

storage_checks = Table(
    "storage_checks",
    metadata,
    Column("check_id", Integer, primary_key=True),
    Column("next_part", Integer, nullable=False),
    Column("files_so_far", BigInteger, nullable=False),
    Column("bytes_so_far", BigInteger, nullable=False),
    Column("verified_at", Utc),
    Column("files", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("repairs", BigInteger, nullable=False),
    CheckConstraint("check_id = 1", name="one_row"),
)

storage_problems = Table(
    "storage_problems",
    metadata,
    Column("folder", String(16), primary_key=True),
    Column("file_name", String(160), primary_key=True),
    Column("fault", String(16), nullable=False),
    Column("study_uid", ReceivedText, nullable=False),
    Column("message", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("found_at", Utc, nullable=False),
)


def instance_from(row: Row[Any]) -> ReceivedInstance:
    """The received instance in a row of `instances`."""
    return ReceivedInstance(**row._mapping)


def job_from(row: Row[Any]) -> Job:
    """The job in a row of `jobs`."""
    return Job(**{**row._mapping, "state": State(row.state)})


def job_row(job: Job) -> dict[str, Any]:
    """The columns that a step writes: all but identity and heartbeat."""
    kept = ("job_id", "study_uid", "source_ae", "predecessor_id", "created_at", "heartbeat")
    row = {name: value for name, value in vars(job).items() if name not in kept}
    return {**row, "state": job.state.value}


def step_from(row: Row[Any]) -> JobStep:
    """The history entry in a row of `job_steps`."""
    origin = None if row.from_state is None else State(row.from_state)
    return JobStep(
        row.job_id, Step(row.step), origin, State(row.to_state), row.who, row.note, row.at
    )


def result_from(row: Row[Any]) -> Result:
    """The result in a row with the columns of `results`."""
    return Result(**{name: getattr(row, name) for name in Result.__dataclass_fields__})


def delivery_from(row: Row[Any]) -> Delivery:
    """The delivery in a row of `deliveries` joined with `results`."""
    return Delivery(
        result=result_from(row),
        destination=row.destination,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        status=row.status,
        note=row.note,
        acknowledged_at=row.acknowledged_at,
        committed_at=row.committed_at,
    )


def hold_from(row: Row[Any]) -> Hold:
    """The hold in a row of `holds`."""
    return Hold(**{name: getattr(row, name) for name in Hold.__dataclass_fields__})


def refusal_from(row: Row[Any]) -> Refusal:
    """The refusal in a row of `refusals`."""
    return Refusal(**{name: getattr(row, name) for name in Refusal.__dataclass_fields__})


def copy_row(copy: ReceivedCopy) -> dict[str, Any]:
    """The columns of `received_copies` that describe a new copy."""
    return {
        "kind": copy.kind.value,
        "state": copy.state.value,
        "sop_instance_uid": copy.instance.sop_instance_uid,
        "study_uid": copy.instance.study_uid,
        "stored_study_uid": copy.stored.study_uid,
        "offered": _instance_json(copy.instance),
        "stored": _instance_json(copy.stored),
        "differs": ",".join(copy.differs),
        "identity": copy.identity,
        "stored_identity": copy.stored_identity,
        "quarantined_as": copy.quarantined_as,
        "received_at": copy.instance.received_at,
        "decided_by": copy.decided_by,
        "decided_at": copy.decided_at,
        "jobs_before": 0,
    }


def copy_from(row: Row[Any]) -> ReceivedCopy:
    """The copy in a row of `received_copies`."""
    return ReceivedCopy(
        kind=CopyKind(row.kind),
        instance=_instance_from_json(row.offered),
        stored=_instance_from_json(row.stored),
        differs=tuple(row.differs.split(",")),
        identity=row.identity,
        stored_identity=row.stored_identity,
        quarantined_as=row.quarantined_as,
        state=CopyState(row.state),
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )


def _instance_json(instance: ReceivedInstance) -> dict[str, Any]:
    """Texts without what a database rejects, as in the columns of `instances`."""
    kept = {
        key: storable(value) if isinstance(value, str) else value
        for key, value in vars(instance).items()
    }
    return {**kept, "received_at": instance.received_at.isoformat()}


def _instance_from_json(stored: dict[str, Any]) -> ReceivedInstance:
    moment = datetime.fromisoformat(stored["received_at"])
    return ReceivedInstance(**{**stored, "received_at": moment})


def user_from(row: Row[Any]) -> User:
    """The user in a row of `users`."""
    return User(**{**row._mapping, "role": Role(row.role)})


def session_from(row: Row[Any]) -> Session:
    """The session in a row of `sessions`."""
    return Session(**row._mapping)


def token_from(row: Row[Any]) -> Token:
    """The token in a row of `tokens`; its hash stays in the database."""
    kept = {name: getattr(row, name) for name in Token.__dataclass_fields__}
    return Token(**{**kept, "role": Role(row.role)})


def change_from(row: Row[Any]) -> AdminChange:
    """The change in a row of `changes`."""
    return AdminChange(**{name: getattr(row, name) for name in AdminChange.__dataclass_fields__})


def process_from(row: Row[Any]) -> Process:
    """The process in a row of `processes`."""
    fields = {name: getattr(row, name) for name in Process.__dataclass_fields__}
    return Process(**{**fields, "role": ProcessRole(row.role)})
