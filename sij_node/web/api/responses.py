"""What the API answers: everything typed, nothing that names a patient unless it was asked for."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from models.findings import Finding
from sij_node.config.roles import Role
from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.domain.health import Component, HealthStatus
from sij_node.domain.job import Delivery, DeliveryState, Job, JobAction, Result, State, Step
from sij_node.operate.admin import PeerStatus, StudyDetails


class Answer(BaseModel):
    """Read from the values of the node, of which it has the same names."""

    model_config = ConfigDict(from_attributes=True)


class JobAnswer(Answer):
    """A job: the way of one study from its first image to the archive's acknowledgement."""

    job_id: int
    study_uid: str
    source_ae: str = Field(description="Who sent the study and gets its results.")
    state: State
    priority: int = Field(description="0 to 9; higher is analysed first.")
    analysis_attempts: int
    delivery_attempts: int
    wait_s: float = Field(description="Until the next attempt; 0 when it may begin.")
    reason: str = Field(description="Why the last attempt failed, and what to do.")
    error_family: str
    weights: str = Field(description="Names and versions of the networks.")
    predecessor_id: int | None = Field(description="The job before this one of the same study.")
    created_at: datetime
    changed_at: datetime
    instances: int = Field(description="Images that have arrived for this job.")
    patient: str | None = Field(
        default=None,
        description="Stands for the patient: the same for all studies of one patient on this "
        "node. None once the images were cleared away, and where nobody asked.",
    )

    @classmethod
    def of(cls, job: Job, patient: str | None = None) -> Self:
        """The answer for a job."""
        return cls.model_validate(job).model_copy(update={"patient": patient})


class JobsAnswer(Answer):
    """Some jobs, the newest first."""

    jobs: list[JobAnswer]
    total: int = Field(description="How many fit in all.")
    next_cursor: int | None = Field(description="Ask with this for the next ones; None at the end.")


class StepAnswer(Answer):
    """One line of a job's history."""

    step: Step
    from_state: State | None
    to_state: State
    who: str
    note: str
    at: datetime


class ResultAnswer(Answer):
    """An object that the node has made."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    series_uid: str
    size_bytes: int
    sha256: str
    transfer_syntax_uid: str
    kept: bool = Field(description="Whether its file is still here to be downloaded.")

    @classmethod
    def of(cls, result: Result) -> Self:
        """The answer for a result."""
        return cls.model_validate({**vars(result), "kept": result.file_name != ""})


class DeliveryAnswer(Answer):
    """One result on its way to one destination."""

    sop_instance_uid: str
    kind: str
    destination: str
    state: DeliveryState
    attempts: int
    status: int | None = Field(description="The last C-STORE status that came back.")
    note: str
    acknowledged_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """The answer for a delivery."""
        return cls.model_validate({**vars(delivery.result), **vars(delivery)})


class SeriesAnswer(Answer):
    """What one series was to the analysis."""

    series_uid: str
    number: str
    images: int
    role: str
    used: bool
    reason: str = Field(description="Why it was used or not.")


class FindingAnswer(Answer):
    """One of the 28 scores; sides are the patient's."""

    side: str
    region: str
    lesion: str
    probability: float | None
    threshold: float
    presence: str

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """The answer for a finding."""
        position = finding.position
        return cls(
            side=position.side,
            region=position.head.region,
            lesion=position.head.lesion,
            probability=finding.probability,
            threshold=finding.threshold,
            presence=finding.presence,
        )


class NetworkAnswer(Answer):
    """A network that took part."""

    name: str
    version: str
    sha256: str
    intended_use: str


class AnalysisAnswer(Answer):
    """What the analysis saw."""

    series: list[SeriesAnswer]
    findings: list[FindingAnswer]
    networks: list[NetworkAnswer]
    remarks: list[str]

    @classmethod
    def of(cls, record: AnalysisRecord | None) -> Self | None:
        """The answer for what was kept of an analysis."""
        if record is None:
            return None
        findings = [FindingAnswer.of(finding) for finding in record.findings]
        return cls.model_validate({**vars(record), "findings": findings})


class HistoryAnswer(Answer):
    """One job with everything that happened to it."""

    job: JobAnswer
    steps: list[StepAnswer]
    deliveries: list[DeliveryAnswer]
    analysis: AnalysisAnswer | None
    actions: list[JobAction] = Field(description="What can be asked of it now.")
    standstill: str = Field(description="Why nothing happens to it at the moment.")

    @classmethod
    def of(cls, details: StudyDetails) -> Self:
        """The answer for a job's history."""
        history = details.history
        return cls(
            job=JobAnswer.of(history.job, details.pseudonym or None),
            steps=_all(StepAnswer, history.steps),
            deliveries=[DeliveryAnswer.of(delivery) for delivery in history.deliveries],
            analysis=AnalysisAnswer.of(details.record),
            actions=list(history.actions),
            standstill=history.standstill,
        )


class PatientAnswer(Answer):
    """The identifier of a patient."""

    patient: str


class PeerAnswer(Answer):
    """A system that may send studies and gets results."""

    ae_title: str
    host: str
    port: int
    tls: bool
    profile: str
    accepted_at: datetime | None = Field(description="When it last was let in.")
    refused_at: datetime | None
    refused_because: str
    echo_in_at: datetime | None = Field(description="Its last C-ECHO to the node.")
    echo_out_at: datetime | None = Field(description="The node's last C-ECHO to it.")
    echo_out_error: str = Field(description="Why that was not answered; empty when it was.")
    waiting: int = Field(description="Jobs with something for it that is still to be sent.")
    kept_back: int = Field(description="Jobs whose results are kept until somebody asks.")
    remarks: list[str] = Field(description="Why it gets nothing, if it does not.")

    @classmethod
    def of(cls, peer: PeerStatus) -> Self:
        """The answer for a peer in config.toml."""
        told = {**vars(peer.activity), **vars(peer.destination), **dict(peer.config or ())}
        return cls.model_validate({**told, "remarks": list(peer.destination.remarks)})


class EchoAnswer(Answer):
    """How a peer answered a C-ECHO."""

    answered: bool
    words: str


class DestinationAnswer(Answer):
    """How a destination stands after an action."""

    ae_title: str
    waiting: int
    kept_back: int
    remarks: list[str]


class ConditionAnswer(Answer):
    """One line of the node's health."""

    part: Component
    verdict: HealthStatus
    words: str
    advice: str
    which: str


class HealthAnswer(Answer):
    """The node's health now."""

    verdict: HealthStatus
    conditions: list[ConditionAnswer]


class RefusalAnswer(Answer):
    """An object or association that was not accepted."""

    at: datetime
    source_ae: str
    address: str
    sop_instance_uid: str
    study_uid: str
    status: int = Field(description="The C-STORE status; 0 where an association was refused.")
    reason: str


class ChangeAnswer(Answer):
    """Something that somebody changed, looked up or took out."""

    at: datetime
    who: str
    action: str
    subject: str
    note: str


class MeAnswer(Answer):
    """Who is asking."""

    name: str
    role: Role
    token_id: int | None


class TokenAnswer(Answer):
    """A program's access in somebody's name."""

    token_id: int
    label: str
    role: Role
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


class NewTokenAnswer(TokenAnswer):
    """A token that was just made."""

    secret: str = Field(description="Shown this once. Send it as Authorization: Bearer.")


def _all(kind: type[StepAnswer], values: Iterable[object]) -> list[StepAnswer]:
    return [kind.model_validate(value) for value in values]
