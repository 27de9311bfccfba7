"""Verdicts are compared with the calls they were given on, and falling agreement is noticed."""

from dataclasses import replace

import pytest

from models.findings import POSITIONS, Finding, Lesion, Presence
from sij_node.domain.verdicts import (
    Decision,
    JudgedSite,
    Verdict,
    agreement_by,
    falling_agreement,
    lesion_of,
    new_verdicts,
)
from sij_node.errors import IllegalStep
from tests.support.job_tables import NOON

PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNDETERMINED
FINDINGS = [Finding(POSITIONS[n], p, 0.5) for n, p in enumerate((0.9, 0.1, None))]
FIRST, SECOND, THIRD = POSITIONS[:3]


def judged(accepted: bool, job: int, sender: str = "MR1", site: int = 0) -> JudgedSite:
    stated = PRESENT if accepted else ABSENT
    verdict = Verdict(POSITIONS[site], PRESENT, stated, "mia", NOON)
    return JudgedSite(verdict, job, f"1.2.{job}", sender, "lesion 0.6.0")


@pytest.mark.parametrize(
    ("called", "stated", "decision"),
    [
        (PRESENT, PRESENT, Decision.ACCEPTED),
        (ABSENT, ABSENT, Decision.ACCEPTED),
        (PRESENT, ABSENT, Decision.REJECTED),
        (ABSENT, PRESENT, Decision.CORRECTED),
        (UNKNOWN, PRESENT, Decision.CORRECTED),
        (UNKNOWN, ABSENT, Decision.CORRECTED),
        (PRESENT, UNKNOWN, Decision.WITHDRAWN),
    ],
)
def test_a_verdict_accepts_rejects_or_corrects_the_call(called, stated, decision):
    assert Verdict(FIRST, called, stated, "mia", NOON).decision is decision


def test_only_what_differs_from_the_readers_earlier_verdicts_is_new():
    earlier = new_verdicts(FINDINGS, {FIRST: PRESENT, SECOND: PRESENT}, (), "mia", NOON)

    again = {FIRST: PRESENT, SECOND: UNKNOWN, THIRD: UNKNOWN}
    new = new_verdicts(FINDINGS, again, earlier, "mia", NOON)
    other = new_verdicts(FINDINGS, again, earlier, "tom", NOON)

    assert [(one.position, one.decision) for one in new] == [(SECOND, Decision.WITHDRAWN)]
    assert [(one.position, one.called) for one in other] == [(FIRST, PRESENT)]


def test_a_site_that_was_not_analysed_has_no_verdict():
    with pytest.raises(IllegalStep, match="not analysed"):
        new_verdicts((), {FIRST: PRESENT}, (), "mia", NOON)


def test_agreement_counts_each_decision_of_a_group():
    sites = [judged(True, 1), judged(False, 2), judged(True, 3), judged(True, 4, site=13)]
    missed = replace(sites[0], verdict=replace(sites[0].verdict, called=ABSENT))

    by_lesion = {one.name: one for one in agreement_by([*sites, missed], lesion_of)}

    oedema = by_lesion[Lesion.OEDEMA]
    assert (oedema.accepted, oedema.rejected, oedema.corrected) == (2, 1, 1)
    assert (oedema.sites, oedema.share) == (4, 0.5)
    assert by_lesion[Lesion.ANKYLOSIS].share == 1


def test_agreement_that_fell_is_noticed_for_its_sender_and_lesion_alone():
    fell = [judged(job <= 60, job) for job in range(1, 121)]
    steady = [judged(job % 5 > 0, job, "MR2") for job in range(201, 321)]
    elsewhere = [judged(True, job, site=13) for job in range(1, 121)]

    found = falling_agreement([*steady, *fell, *elsewhere])

    assert {sender: [one.figure for one in each] for sender, each in found.items()} == {
        "MR1": ["oedema agreement"]
    }
    assert (found["MR1"][0].reference, found["MR1"][0].recent) == (1.0, 0.0)


def test_agreement_that_rose_and_few_studies_raise_no_warning():
    rose = [judged(job > 60, job) for job in range(1, 121)]
    few = [judged(job <= 20, job, "MR2") for job in range(1, 41)]

    assert falling_agreement([*rose, *few]) == {}
