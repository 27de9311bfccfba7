"""The conclusion of a report: which lesions each joint shows, and what is new since the prior.

Every report, page and list shows these sentences, so that they agree wherever they are read.
"""

from collections.abc import Iterable, Mapping, Sequence

from models.burden_scores import BurdenChange, BurdenName, BurdenScore
from models.findings import (
    ILIUM,
    QUADRANTS,
    SACRUM,
    Finding,
    Lesion,
    Position,
    Presence,
    Region,
    Side,
)
from models.mri_criteria import SlicesSeen, any_met, positive_mri
from sij_node.domain.prior_comparison import ComparedPrior, LesionChange, SincePrior
from sij_node.results.language import Wording


def asas_criterion(slices: SlicesSeen | None, complete: bool) -> bool | None:
    """Whether the ASAS criterion is met; None if that is unknown.

    Parameters
    ----------
    slices
        The slices that show each present lesion; None if unknown.
    complete
        Whether every site was evaluable; if not, the criterion is never called unmet.
    """
    if slices is None:
        return None
    met = any_met(positive_mri(slices))
    return met if complete or met else None


def conclusion(
    findings: Iterable[Finding], asas_met: bool | None, wording: Wording
) -> tuple[str, ...]:
    """One sentence for each joint, the patient's right first, and one for the ASAS criterion.

    Parameters
    ----------
    findings
        All of a study, in any order; without any there is no conclusion.
    asas_met
        As from `asas_criterion`.
    """
    by_position = {finding.position: finding for finding in findings}
    if not by_position:
        return ()
    joints = (
        f"{wording.sides[side].upper()}: {_joint(side, by_position, wording)}." for side in Side
    )
    if asas_met is None:
        return tuple(joints)
    return (*joints, wording.asas.format(outcome=wording.met if asas_met else wording.not_met))


SAID_SCORES = (BurdenName.SPARCC_INFLAMMATION, BurdenName.SSS_FAT, BurdenName.SSS_EROSION)
"""Scores of lesion burden in the text of reports; all are in the structured report."""


def burden_in_words(burden: Iterable[BurdenScore], wording: Wording) -> tuple[str, ...]:
    """The scores of lesion burden in one sentence; empty if there are none."""
    scores = ", ".join(wording.burden_score(one) for one in burden if one.name in SAID_SCORES)
    return (wording.burden.format(scores=scores),) if scores else ()


def burden_changes(
    prior: ComparedPrior | None, burden: Iterable[BurdenScore], wording: Wording
) -> tuple[str, ...]:
    """Which scores changed since the prior study, in one sentence; empty if that is unknown."""
    if prior is None:
        return ()
    changes = {
        one: (before.value, change)
        for one in burden
        if one.name in SAID_SCORES
        and (before := prior.burden_before(one.name)) is not None
        and (change := prior.burden_change(one)) is not None
    }
    changed = [
        f"{wording.burden_scores[one.name]} {wording.burden_changes[change]} "
        f"({before} → {one.value})"
        for one, (before, change) in changes.items()
        if change is not BurdenChange.WITHIN_ERROR
    ]
    if len(changed) < len(changes):
        same = wording.burden_changes[BurdenChange.WITHIN_ERROR]
        changed.append(f"{wording.other_scores} {same}" if changed else same)
    return (wording.burden_changed.format(scores="; ".join(changed)),) if changed else ()


def _joint(side: Side, findings: Mapping[Position, Finding], wording: Wording) -> str:
    """The lesions of one joint, and how many of its sites were not evaluable."""
    of_side = [finding for position, finding in findings.items() if position.side is side]
    unknown = sum(finding.presence is Presence.UNDETERMINED for finding in of_side)
    if unknown == len(of_side):
        return wording.not_evaluable
    present = [each.position for each in of_side if each.presence is Presence.PRESENT]
    said = "; ".join(lesions_in_words(present, wording)) or wording.no_lesion
    return said + (wording.sites_unknown.format(number=unknown) if unknown else "")


def lesions_in_words(positions: Iterable[Position], wording: Wording) -> list[str]:
    """Each lesion of one joint with its sites, e.g. ``oedema upper and lower ilium``."""
    regions: dict[Lesion, set[Region]] = {}
    for position in positions:
        regions.setdefault(position.head.lesion, set()).add(position.head.region)
    return [_lesion(lesion, regions[lesion], wording) for lesion in Lesion if lesion in regions]


def _lesion(lesion: Lesion, regions: set[Region], wording: Wording) -> str:
    name = wording.lesions[lesion]
    if regions >= set(QUADRANTS):
        return wording.in_all_quadrants.format(lesion=name)
    sites = [words for group, words in wording.site_groups.items() if _is_said(group, regions)]
    return f"{name} {', '.join(sites)}" if sites else name


def _is_said(group: frozenset[Region], regions: set[Region]) -> bool:
    """Whether a group is exactly what is affected of its bone."""
    return any(group <= set(bone) and group == regions & set(bone) for bone in (ILIUM, SACRUM))


# ---- the comparison with the prior study ---------------------------------------------------------


def prior_changes(
    prior: ComparedPrior | None, findings: Sequence[Finding], wording: Wording
) -> tuple[str, ...]:
    """Which lesions are new, resolved and persisting; those absent both times are no news."""
    if prior is None:
        return ()
    changed = {
        LesionChange.NEW: _positions(prior, findings, LesionChange.NEW),
        LesionChange.RESOLVED: _positions(prior, findings, LesionChange.RESOLVED),
        LesionChange.UNCHANGED: [
            finding.position
            for finding in findings
            if finding.presence is Presence.PRESENT
            and prior.change(finding) is LesionChange.UNCHANGED
        ],
    }
    unknown = len(_positions(prior, findings, LesionChange.NOT_COMPARABLE))
    named = [
        f"{wording.changes_named[change]}: {_by_side(positions, wording)}."
        for change, positions in changed.items()
    ]
    return (
        wording.compared.format(date=prior.studied),
        *(named if any(changed.values()) else [wording.no_lesion_either_time]),
        *([wording.sites_not_comparable.format(number=unknown)] if unknown else []),
        *([_different_model(prior, wording)] if prior.other_weights else []),
        *([wording.other_operating_point] if prior.has_other_thresholds(findings) else []),
    )


def _positions(
    prior: ComparedPrior, findings: Iterable[Finding], change: LesionChange
) -> list[Position]:
    return [finding.position for finding in findings if prior.change(finding) is change]


def _by_side(positions: Sequence[Position], wording: Wording) -> str:
    """Lesions with their side, e.g. ``right oedema upper ilium; left sclerosis``."""
    named = [
        f"{wording.sides[side]} {lesion}"
        for side in Side
        for lesion in lesions_in_words((p for p in positions if p.side is side), wording)
    ]
    return "; ".join(named) or wording.none


def _different_model(prior: ComparedPrior, wording: Wording) -> str:
    return wording.different_model.format(networks=", ".join(prior.networks))


def other_priors(since: SincePrior, wording: Wording) -> tuple[str, ...]:
    """Prior studies that were not compared, and why others were unavailable."""
    dates = ", ".join(str(other.studied) for other in since.others)
    return (
        *([wording.other_priors.format(dates=dates)] if dates else []),
        *(
            wording.priors_unavailable.format(reason=wording.prior_problems[problem])
            for problem in since.problems
        ),
    )


def since_prior_in_words(
    since: SincePrior,
    findings: Sequence[Finding],
    wording: Wording,
    burden: Sequence[BurdenScore] = (),
) -> tuple[str, ...]:
    """All that a report says about prior studies, in full sentences."""
    return (
        *prior_changes(since.compared, findings, wording),
        *burden_changes(since.compared, burden, wording),
        *other_priors(since, wording),
    )
