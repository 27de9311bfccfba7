"""Responses of the API: all typed, and none identifies a patient unless that was requested.

Values that hold nothing of a patient are sent as they are, for instance `JobStep`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from models.burden_scores import BurdenScore
from models.findings import Finding
from sij_node.domain.analysis_record import AnalysisRecord, UsedNetwork
from sij_node.domain.health import Condition, HealthStatus
from sij_node.domain.job import Delivery, DeliveryState, Job, JobAction, JobStep, Result, State
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.domain.study import CopySummary
from sij_node.domain.users import Token
from sij_node.domain.verdicts import Verdict
from sij_node.operate.admin import PeerStatus, StudyDetails
from sij_node.results.language import ENGLISH
from sij_node.results.report_text import report_text


class ApiResponse(BaseModel):
    """A response, read from a value with the same attribute names."""

    model_config = ConfigDict(from_attributes=True)


class JobResponse(ApiResponse):
    """A job: one study from its first image to the archive's acknowledgement."""

    job_id: int
    study_uid: str
    source_ae: str = Field(description="Sender of the study and destination of its results.")
    state: State
    priority: int = Field(description="0 to 9; higher is analysed first.")
    analysis_attempts: int
    delivery_attempts: int
    wait_s: float = Field(description="Seconds until the next attempt; 0 if none is pending.")
    reason: str = Field(description="Why the last attempt failed, with the recommended action.")
    error_family: str
    weights: str = Field(description="Names and versions of the networks.")
    predecessor_id: int | None = Field(description="The previous job of the same study.")
    created_at: datetime
    changed_at: datetime
    instances: int = Field(description="Images received for this job.")
    patient: str | None = Field(
        default=None,
        description="Pseudonym: the same for all studies of one patient on this node. None once "
        "the images were cleared, and in responses to actions.",
    )

    @classmethod
    def of(cls, job: Job, patient: str | None = None) -> Self:
        """The response for a job."""
        return cls.model_validate(job).model_copy(update={"patient": patient})


class JobsResponse(ApiResponse):
    """A page of jobs, newest first."""

    jobs: list[JobResponse]
    total: int = Field(description="Number of matching jobs.")
    next_cursor: int | None = Field(description="Cursor for the next page; None on the last.")


class BulkResponse(ApiResponse):
    """What an action for all jobs of a list did."""

    action: JobAction
    done: list[int] = Field(description="Numbers of the jobs it was carried out on.")
    refused: dict[int, str] = Field(description="Why not on others, by job number.")
    left: int = Field(description="Matching jobs that were not touched; repeat the request.")


class ResultResponse(ApiResponse):
    """An object that the node produced."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    series_uid: str
    size_bytes: int
    sha256: str
    transfer_syntax_uid: str
    kept: bool = Field(description="Whether its file can still be downloaded.")

    @classmethod
    def of(cls, result: Result) -> Self:
        """The response for a result."""
        return cls.model_validate({**vars(result), "kept": result.file_name != ""})


class DeliveryResponse(ApiResponse):
    """The delivery of one result to one destination."""

    sop_instance_uid: str
    kind: str
    destination: str
    state: DeliveryState
    attempts: int
    status: int | None = Field(description="Status of the last C-STORE response.")
    note: str
    acknowledged_at: datetime | None
    committed_at: datetime | None = Field(description="When its storage was confirmed.")

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """The response for a delivery."""
        return cls.model_validate({**vars(delivery.result), **vars(delivery)})


class SeriesResponse(ApiResponse):
    """How one series was used."""

    series_uid: str
    number: str
    images: int
    role: str
    used: bool
    reason: str = Field(description="Why it was used or not.")


class FindingResponse(ApiResponse):
    """One of the 28 scores; sides are the patient's."""

    side: str
    region: str
    lesion: str
    probability: float | None
    threshold: float
    operating_point: str = Field(description="Purpose of the threshold.")
    presence: str

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """The response for a finding."""
        position = finding.position
        return cls(
            side=position.side,
            region=position.head.region,
            lesion=position.head.lesion,
            probability=finding.probability,
            threshold=finding.threshold,
            operating_point=finding.operating_point,
            presence=finding.presence,
        )


class VerdictResponse(ApiResponse):
    """A reader's verdict on one site; sides are the patient's."""

    side: str
    region: str
    lesion: str
    called: str = Field(description="By the networks, at that time.")
    stated: str = Field(description="By the reader.")
    decision: str
    reader: str
    at: datetime

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """The response for a verdict."""
        position = verdict.position
        return cls(
            side=position.side,
            region=position.head.region,
            lesion=position.head.lesion,
            called=verdict.called,
            stated=verdict.stated,
            decision=verdict.decision,
            reader=verdict.reader,
            at=verdict.at,
        )


class BurdenResponse(ApiResponse):
    """A score of lesion burden with its 95 % band, for research."""

    name: str
    value: int
    low: int
    high: int
    most: int = Field(description="Largest possible score.")
    prior: int | None = Field(description="The score of the prior study.")
    change: str | None = Field(
        description="Compared with measurement error; unknown if other weights made the prior one."
    )

    @classmethod
    def of(cls, score: BurdenScore, prior: ComparedPrior | None) -> Self:
        """The response for a score."""
        before = prior.burden_before(score.name) if prior else None
        return cls(
            **vars(score),
            most=score.most,
            prior=before.value if before else None,
            change=prior.burden_change(score) if prior else None,
        )


class AnalysisResponse(ApiResponse):
    """The findings of an analysis and what they are based on."""

    series: list[SeriesResponse]
    findings: list[FindingResponse]
    networks: list[UsedNetwork]
    remarks: list[str]
    burden: list[BurdenResponse]
    conclusion: list[str] = Field(
        description="What each joint shows and what is new since the prior study, for pasting."
    )

    @classmethod
    def of(cls, record: AnalysisRecord | None) -> Self | None:
        """The response for a stored analysis; None if there was none."""
        if record is None:
            return None
        findings = [FindingResponse.of(finding) for finding in record.findings]
        text = report_text(record, ENGLISH)
        said = {
            "findings": findings,
            "burden": [BurdenResponse.of(score, record.prior) for score in record.burden],
            "conclusion": [*text.conclusion, *text.changes],
        }
        return cls.model_validate({**vars(record), **said})


class HistoryResponse(ApiResponse):
    """One job with everything that happened to it."""

    job: JobResponse
    steps: list[JobStep]
    deliveries: list[DeliveryResponse]
    analysis: AnalysisResponse | None
    actions: list[JobAction] = Field(description="Available actions.")
    standstill: str = Field(
        description="Why the job does not move on at the moment; empty while it does."
    )
    missing: list[str] = Field(
        description="Results that the destination's profile lists and that were not made, because "
        "the profile was changed since. A redelivery makes and sends them too."
    )
    copies: list[CopySummary] = Field(
        description="Images received again under a corrected identity or with other content, which "
        "can be accepted or discarded."
    )

    @classmethod
    def of(cls, details: StudyDetails) -> Self:
        """The response for a job's history."""
        history = details.history
        return cls(
            job=JobResponse.of(history.job, details.pseudonym or None),
            steps=list(history.steps),
            deliveries=[DeliveryResponse.of(delivery) for delivery in history.deliveries],
            analysis=AnalysisResponse.of(details.record),
            actions=list(history.actions),
            standstill=history.standstill,
            missing=list(history.missing),
            copies=list(history.copies),
        )


class PatientResponse(ApiResponse):
    """A patient ID."""

    patient: str


class PeerResponse(ApiResponse):
    """A system that sends studies and receives results."""

    ae_title: str
    host: str
    port: int
    tls: bool
    profile: str
    accepted_at: datetime | None = Field(description="Last accepted association.")
    refused_at: datetime | None
    refused_because: str
    echo_in_at: datetime | None = Field(description="Last C-ECHO received from it.")
    echo_out_at: datetime | None = Field(description="Last C-ECHO sent to it.")
    echo_out_error: str = Field(
        description="Why the last C-ECHO sent failed; empty if it succeeded."
    )
    waiting: int = Field(description="Jobs with results pending for it.")
    withheld: int = Field(description="Jobs with results withheld from it.")
    remarks: list[str] = Field(description="Why it receives nothing, if so.")

    @classmethod
    def of(cls, peer: PeerStatus) -> Self:
        """The response for a peer in config.toml."""
        fields = {**vars(peer.activity), **vars(peer.destination), **dict(peer.config or ())}
        return cls.model_validate({**fields, "remarks": list(peer.destination.remarks)})


class EchoResponse(ApiResponse):
    """The outcome of a C-ECHO."""

    answered: bool
    words: str


class DestinationResponse(ApiResponse):
    """The status of a destination after an action."""

    ae_title: str
    waiting: int
    withheld: int
    remarks: list[str]


class HealthResponse(ApiResponse):
    """The node's health now."""

    status: HealthStatus
    conditions: list[Condition]


@dataclass(frozen=True)
class NewToken(Token):
    """A newly created token. Its secret is shown only once: send it as Authorization: Bearer."""

    secret: str
