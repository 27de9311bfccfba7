"""Verdicts: what radiologists state about the sites that the networks called present or absent.

A verdict never changes a finding or anything that was sent. Verdicts are compared with the calls
(agreement by lesion, sender, reader and weights), and exported as readings for training.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from models.findings import Finding, Lesion, Position, Presence
from sij_node.domain.drift import (
    RECENT_STUDIES,
    REFERENCE_STUDIES,
    Figures,
    Histories,
    Shift,
    shifts,
)
from sij_node.errors import IllegalStep


class Decision(StrEnum):
    """What a verdict does to a call."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """Called present; the reader states absent."""
    CORRECTED = "corrected"
    """Called absent or not evaluable; the reader states otherwise."""
    WITHDRAWN = "withdrawn"
    """The reader takes an earlier verdict back."""


@dataclass(frozen=True)
class Verdict:
    """A reader's statement about one site.

    Parameters
    ----------
    called
        The networks' call at that time.
    stated
        Present or absent; undetermined withdraws an earlier verdict.
    reader
        User name.
    """

    position: Position
    called: Presence
    stated: Presence
    reader: str
    at: datetime

    @property
    def decision(self) -> Decision:
        """Accepted, rejected, corrected or withdrawn."""
        if self.stated is Presence.UNDETERMINED:
            return Decision.WITHDRAWN
        if self.stated is self.called:
            return Decision.ACCEPTED
        return Decision.REJECTED if self.called is Presence.PRESENT else Decision.CORRECTED


@dataclass(frozen=True)
class JudgedSite:
    """A verdict with the study's job, sender and weights."""

    verdict: Verdict
    job_id: int
    study_uid: str
    sender: str
    weights: str


@dataclass(frozen=True)
class Agreement:
    """How often readers agree with the calls of a group of sites.

    Parameters
    ----------
    name
        Of the group, for instance a lesion or a sender.
    """

    name: str
    accepted: int
    rejected: int
    corrected: int

    @property
    def sites(self) -> int:
        """Number of sites with a verdict."""
        return self.accepted + self.rejected + self.corrected

    @property
    def share(self) -> float:
        """Share of accepted calls, 0 to 1."""
        return self.accepted / self.sites


def new_verdicts(
    findings: Iterable[Finding],
    stated: Mapping[Position, Presence],
    earlier: Iterable[Verdict],
    reader: str,
    at: datetime,
) -> tuple[Verdict, ...]:
    """The verdicts by which a reader's statements differ from the same reader's earlier ones.

    Raises
    ------
    IllegalStep
        If a site is not among the findings.
    """
    called = {finding.position: finding.presence for finding in findings}
    missing = [position for position in stated if position not in called]
    if missing:
        raise IllegalStep(f"The study has no finding for {missing[0]}: it was not analysed.")
    before = {one.position: one.stated for one in earlier if one.reader == reader}
    return tuple(
        Verdict(position, called[position], presence, reader, at)
        for position, presence in stated.items()
        if presence is not before.get(position, Presence.UNDETERMINED)
    )


def agreement_by(
    judged: Iterable[JudgedSite], name_of: Callable[[JudgedSite], str]
) -> tuple[Agreement, ...]:
    """Agreement of each group of sites, by name."""
    ordered = sorted(judged, key=name_of)
    return tuple(
        _agreement(name, [one.verdict.decision for one in group])
        for name, group in groupby(ordered, key=name_of)
    )


def _agreement(name: str, decisions: Sequence[Decision]) -> Agreement:
    counted = (Decision.ACCEPTED, Decision.REJECTED, Decision.CORRECTED)
    return Agreement(name, *(decisions.count(one) for one in counted))


def falling_agreement(judged: Iterable[JudgedSite]) -> Mapping[str, tuple[Shift, ...]]:
    """Lesions for which agreement fell, by sender; sites of a study count as one study.

    The newest studies with verdicts are compared with the first ones, as for drift of inputs.
    """
    ordered = sorted(judged, key=lambda one: (one.sender, one.job_id))
    found = {
        sender: tuple(one for one in shifts(_histories(list(sites))) if _has_fallen(one))
        for sender, sites in groupby(ordered, key=lambda one: one.sender)
    }
    return {sender: fallen for sender, fallen in found.items() if fallen}


def _histories(judged: Sequence[JudgedSite]) -> Histories:
    studies = [_figures(list(sites)) for _, sites in groupby(judged, key=lambda one: one.job_id)]
    first = min(REFERENCE_STUDIES, len(studies) // 2)
    return Histories(studies[:first], studies[first:][-RECENT_STUDIES:])


def _figures(judged: Sequence[JudgedSite]) -> Figures:
    by_lesion = agreement_by(judged, lesion_of)
    return {f"{Lesion(one.name)} agreement": one.share for one in by_lesion}


def _has_fallen(shift: Shift) -> bool:
    return shift.is_beyond and shift.recent < shift.reference


def lesion_of(judged: JudgedSite) -> str:
    """The lesion of a site, for `agreement_by`."""
    return judged.verdict.position.head.lesion.value
