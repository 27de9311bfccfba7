"""Comparison with the prior study, position by position.

The prior study is the patient's most recent study that is certainly earlier and has scores. Other
prior studies are listed but not compared.

Source: DICOM PS3.3 C.7.2.1 (study date and time), PS3.5 6.2 (DA, TM).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from models.burden_scores import BurdenChange, BurdenName, BurdenScore, burden_change
from models.findings import Finding, Position, Presence
from sij_node.domain.study import InstanceReference, PatientIdentity


@dataclass(frozen=True, order=True)
class StudyDate:
    """Date and time of a study, as far as its header states them.

    Parameters
    ----------
    date
        YYYYMMDD, or empty if unknown.
    time
        HHMMSS.FFFFFF, or empty.
    """

    date: str = ""
    time: str = ""

    @classmethod
    def stated(cls, date: str, time: str) -> "StudyDate":
        """From Study Date and Study Time."""
        known = date if len(date) == 8 and date.isdigit() else ""
        whole, _, part = time.partition(".")
        is_time = whole.isdigit() and len(whole) in (2, 4, 6) and (part.isdigit() or not part)
        return cls(known, f"{whole:0<6}.{part:0<6}" if is_time else "")

    def is_before(self, other: "StudyDate") -> bool:
        """Whether this is certainly earlier."""
        if not (self.date and other.date):
            return False
        if self.date != other.date:
            return self.date < other.date
        return bool(self.time and other.time) and self.time < other.time

    def __str__(self) -> str:
        """The date, for display."""
        return f"{self.date[:4]}-{self.date[4:6]}-{self.date[6:]}"


@dataclass(frozen=True)
class PriorScores:
    """The scores of a study, from its report.

    Parameters
    ----------
    report
        UIDs of study, series, SOP class and SOP instance of the report.
    studied
        Date of the study.
    written
        Date of the report, to order revisions.
    replaces
        SOP Instance UIDs of the reports that it replaced.
    networks
        Names and versions of the networks, for display.
    weights
        Device UIDs of the networks, which identify their weights.
    findings
        One for each position.
    burden
        Scores of lesion burden; none in older reports.
    """

    patient: PatientIdentity
    report: InstanceReference
    studied: StudyDate
    written: StudyDate
    replaces: frozenset[str]
    networks: tuple[str, ...]
    weights: frozenset[str]
    findings: tuple[Finding, ...]
    burden: tuple[BurdenScore, ...] = ()

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.report[0]

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of the report."""
        return self.report[3]

    @property
    def digest(self) -> str:
        """Digest of everything that a comparison reports about it."""
        reported = (*self.report, str(self.studied), *self.networks, *map(str, self.findings))
        reported += tuple(map(str, self.burden))
        return hashlib.sha256("\0".join(reported).encode()).hexdigest()


class LesionChange(StrEnum):
    """Change of a lesion since the prior study."""

    NEW = "new"
    RESOLVED = "gone"
    UNCHANGED = "unchanged"
    NOT_COMPARABLE = "not comparable"
    """Not evaluable in one of the two studies."""


@dataclass(frozen=True)
class Priors:
    """Prior results that were found, and why others were unavailable.

    Parameters
    ----------
    found
        Of any study and revision, in any order.
    problems
        As in `sij_node.errors.PriorsUnavailable`.
    """

    found: tuple[PriorScores, ...] = ()
    problems: tuple[str, ...] = ()


NO_PRIORS = Priors()


@dataclass(frozen=True)
class ComparedPrior:
    """The findings of a prior study and nothing that identifies the patient.

    Parameters
    ----------
    studied
        Date of the study, for display.
    other_weights
        Whether it was scored with different weights.
    networks
        Names and versions of its networks, for display.
    burden
        Its scores of lesion burden.
    """

    studied: str
    findings: tuple[Finding, ...]
    other_weights: bool = False
    networks: tuple[str, ...] = ()
    burden: tuple[BurdenScore, ...] = ()

    @cached_property
    def _before(self) -> Mapping[Position, Finding]:
        return {finding.position: finding for finding in self.findings}

    def before(self, position: Position) -> Finding | None:
        """The prior finding at a position; None if it has none."""
        return self._before.get(position)

    def change(self, now: Finding) -> LesionChange | None:
        """Change of a finding; None if the prior study has none at its position."""
        before = self.before(now.position)
        return None if before is None else change(before, now)

    def burden_before(self, name: BurdenName) -> BurdenScore | None:
        """A score of the prior study; None if it has none."""
        return next((one for one in self.burden if one.name is name), None)

    def burden_change(self, now: BurdenScore) -> BurdenChange | None:
        """Change of a score; None without a prior one, or if other weights made it."""
        before = self.burden_before(now.name)
        return None if before is None or self.other_weights else burden_change(before, now)

    def has_other_thresholds(self, findings: Iterable[Finding]) -> bool:
        """Whether a lesion was called present at another operating point."""
        return any(
            (before := self.before(now.position)) is not None
            and before.operating_point is not now.operating_point
            for now in findings
        )


@dataclass(frozen=True)
class SincePrior:
    """The prior study that a study is compared with.

    Parameters
    ----------
    prior
        None if there is no prior study.
    others
        Prior studies that are not compared, newest first.
    other_weights
        Whether the prior study was scored with different weights.
    problems
        As in `Priors`.
    """

    prior: PriorScores | None = None
    others: tuple[PriorScores, ...] = ()
    other_weights: bool = False
    problems: tuple[str, ...] = ()

    @cached_property
    def compared(self) -> ComparedPrior | None:
        """The findings compared with; None without a prior study."""
        if self.prior is None:
            return None
        prior = self.prior
        return ComparedPrior(
            str(prior.studied), prior.findings, self.other_weights, prior.networks, prior.burden
        )

    def before(self, position: Position) -> Finding | None:
        """The prior finding at a position; None without a prior study."""
        return self.compared.before(position) if self.compared else None

    def change(self, now: Finding) -> LesionChange | None:
        """Change of a finding; None without a prior study."""
        return self.compared.change(now) if self.compared else None

    @property
    def digest(self) -> str:
        """Digest of everything that results report about it; empty if nothing."""
        reported = [each.digest for each in ((self.prior,) if self.prior else ()) + self.others]
        reported += self.problems
        return hashlib.sha256("\n".join(reported).encode()).hexdigest() if reported else ""


NOTHING_EARLIER = SincePrior()


def change(before: Finding, now: Finding) -> LesionChange:
    """Change of a lesion; each study is judged by its own threshold."""
    then, today = before.presence, now.presence
    if Presence.UNDETERMINED in (then, today):
        return LesionChange.NOT_COMPARABLE
    if then is today:
        return LesionChange.UNCHANGED
    return LesionChange.NEW if today is Presence.PRESENT else LesionChange.RESOLVED


def since_prior(
    priors: Priors,
    patient: PatientIdentity,
    study_uid: str,
    studied: StudyDate,
    weights: Iterable[str],
) -> SincePrior:
    """Select the prior study to compare with.

    Parameters
    ----------
    studied
        Date of the study; only strictly earlier studies count.
    weights
        As in `PriorScores`, for the current networks.
    """
    of_patient = [
        one
        for one in priors.found
        if patient.is_named
        and one.patient == patient
        and one.study_uid != study_uid
        and one.studied.is_before(studied)
    ]
    newest_first = sorted(
        _newest_revisions(of_patient), key=lambda one: (one.studied, one.study_uid), reverse=True
    )
    if not newest_first:
        return SincePrior(problems=priors.problems)
    prior, *others = newest_first
    other_weights = prior.weights != frozenset(weights)
    return SincePrior(prior, tuple(others), other_weights, priors.problems)


def _newest_revisions(found: Sequence[PriorScores]) -> list[PriorScores]:
    """The latest report of each study that no other report replaces."""
    replaced = {uid for one in found for uid in one.replaces}
    of_study: dict[str, PriorScores] = {}
    for one in sorted(found, key=lambda one: (one.written, one.sop_instance_uid)):
        if one.sop_instance_uid not in replaced:
            of_study[one.study_uid] = one
    return list(of_study.values())
