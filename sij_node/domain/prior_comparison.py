"""What has changed since the prior: each position now and then.

The prior is the newest study of the same patient that is earlier without doubt and has scores.
Others are named and not compared.

Source: DICOM PS3.3 C.7.2.1 (study date and time), PS3.5 6.2 (DA, TM).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from models.findings import Finding, Position, Presence
from sij_node.domain.study import InstanceReference, PatientIdentity


@dataclass(frozen=True, order=True)
class StudyDate:
    """When a study was made, as far as its header says.

    Parameters
    ----------
    date
        YYYYMMDD, or empty where it is not known.
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
        """Whether this is earlier without doubt."""
        if not (self.date and other.date):
            return False
        if self.date != other.date:
            return self.date < other.date
        return bool(self.time and other.time) and self.time < other.time

    def __str__(self) -> str:
        """The date, as a person reads it."""
        return f"{self.date[:4]}-{self.date[4:6]}-{self.date[6:]}"


@dataclass(frozen=True)
class PriorScores:
    """What a report told of one study.

    Parameters
    ----------
    report
        UIDs of study, series, SOP class and SOP instance of the report.
    studied
        When the images were made.
    written
        When the report was, to tell revisions apart.
    replaces
        SOP Instance UIDs of the reports that it took the place of.
    networks
        Names and versions of the networks, for people.
    weights
        A UID for each network with exactly its weights.
    findings
        One for each position.
    """

    patient: PatientIdentity
    report: InstanceReference
    studied: StudyDate
    written: StudyDate
    replaces: frozenset[str]
    networks: tuple[str, ...]
    weights: frozenset[str]
    findings: tuple[Finding, ...]

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
        """Of all that a comparison tells about it."""
        told = (*self.report, str(self.studied), *self.networks, *map(str, self.findings))
        return hashlib.sha256("\0".join(told).encode()).hexdigest()


class LesionChange(StrEnum):
    """What became of a lesion since the prior."""

    NEW = "new"
    RESOLVED = "gone"
    UNCHANGED = "unchanged"
    NOT_COMPARABLE = "not comparable"
    """In one of the two studies it could not be evaluated."""


@dataclass(frozen=True)
class Priors:
    """Earlier results as they were found, and what kept others from being found.

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
class SincePrior:
    """What a study is compared with.

    Parameters
    ----------
    prior
        None where there is nothing earlier.
    others
        Earlier studies that are not compared, the newest first.
    other_weights
        Whether the prior was scored with other weights.
    problems
        As in `Priors`.
    """

    prior: PriorScores | None = None
    others: tuple[PriorScores, ...] = ()
    other_weights: bool = False
    problems: tuple[str, ...] = ()

    @cached_property
    def _before(self) -> Mapping[Position, Finding]:
        found = self.prior.findings if self.prior else ()
        return {finding.position: finding for finding in found}

    def before(self, position: Position) -> Finding | None:
        """What the prior told of a position; None where there is no prior."""
        return self._before.get(position)

    def change(self, now: Finding) -> LesionChange | None:
        """What became of a finding; None where there is no prior."""
        before = self.before(now.position)
        return None if before is None else change(before, now)

    def count(self, findings: Iterable[Finding]) -> Mapping[LesionChange, int]:
        """How many positions changed in which way."""
        found = [self.change(finding) for finding in findings]
        return {each: found.count(each) for each in LesionChange}

    @property
    def digest(self) -> str:
        """Of all that results tell about it; empty where they tell nothing."""
        told = [each.digest for each in ((self.prior,) if self.prior else ()) + self.others]
        told += self.problems
        return hashlib.sha256("\n".join(told).encode()).hexdigest() if told else ""


NOTHING_EARLIER = SincePrior()


def change(before: Finding, now: Finding) -> LesionChange:
    """What became of a lesion, each study by its own threshold."""
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
    """What to compare a study with.

    Parameters
    ----------
    studied
        When the images were made; only what is strictly earlier counts.
    weights
        As in `PriorScores`, of the networks of now.
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
    """One for each study: what no other replaces, and was written last."""
    replaced = {uid for one in found for uid in one.replaces}
    of_study: dict[str, PriorScores] = {}
    for one in sorted(found, key=lambda one: (one.written, one.sop_instance_uid)):
        if one.sop_instance_uid not in replaced:
            of_study[one.study_uid] = one
    return list(of_study.values())
