"""Selection of the prior study, and the change of each lesion since then."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.findings import POSITIONS, Finding
from sij_node.domain.prior_comparison import (
    NO_PRIORS,
    NOTHING_EARLIER,
    LesionChange,
    Priors,
    StudyDate,
    change,
    since_prior,
)
from sij_node.domain.study import PatientIdentity, only_patient
from sij_node.errors import MixedPatients
from tests.support.prior_reports import earlier, earlier_findings
from tests.support.result_inputs import NETWORKS, context, findings

PATIENT = PatientIdentity("4711", "HOSPITAL")
NOW = StudyDate.stated("20240102", "101112")
WEIGHTS = [network.device_uid for network in NETWORKS]
HERE = POSITIONS[0]


def compared(*found, patient=PATIENT, studied=NOW, weights=WEIGHTS, problems=()):
    return since_prior(Priors(tuple(found), problems), patient, "1.2.3", studied, weights)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (0.2, 0.7, LesionChange.NEW),
        (0.7, 0.2, LesionChange.RESOLVED),
        (0.7, 0.9, LesionChange.UNCHANGED),
        (0.1, 0.2, LesionChange.UNCHANGED),
        (0.49, 0.5, LesionChange.NEW),
        (None, 0.9, LesionChange.NOT_COMPARABLE),
        (0.9, None, LesionChange.NOT_COMPARABLE),
        (None, None, LesionChange.NOT_COMPARABLE),
    ],
)
def test_a_lesion_is_new_resolved_unchanged_or_not_comparable(before, now, expected):
    assert change(Finding(HERE, before, 0.5), Finding(HERE, now, 0.5)) is expected


def test_each_study_is_judged_by_its_own_threshold():
    assert change(Finding(HERE, 0.4, 0.3), Finding(HERE, 0.4, 0.5)) is LesionChange.RESOLVED


def test_every_position_is_compared_with_itself():
    since = compared(earlier())

    for before in earlier_findings():
        assert since.before(before.position) == before
    assert None not in [since.change(now) for now in findings()]
    assert len(findings()) == len(POSITIONS)


def test_the_newest_earlier_study_is_the_prior_others_listed_in_order():
    found = [earlier(date) for date in ("20210505", "20230301", "20190101")]

    for order in permutations(found):
        since = compared(*order)
        assert str(since.prior.studied) == "2023-03-01"
        assert [str(other.studied) for other in since.others] == ["2021-05-05", "2019-01-01"]


@pytest.mark.parametrize("date", ["20240102", "20240103", "20991231", ""])
def test_what_is_not_strictly_earlier_is_no_prior(date):
    one = replace(earlier(), studied=StudyDate.stated(date, "101112"))

    assert compared(one) == NOTHING_EARLIER


def test_on_one_day_the_time_decides_and_without_one_nothing_is_earlier():
    morning = replace(earlier(), studied=StudyDate.stated("20240102", "08"))
    some_time = replace(earlier(), studied=StudyDate.stated("20240102", ""))

    assert compared(morning).prior == morning
    assert compared(some_time).prior is None


def test_a_study_without_a_date_has_no_prior():
    assert compared(earlier(), studied=StudyDate.stated("", "")).prior is None


def test_the_study_itself_is_no_prior_of_itself():
    own = earlier()

    assert since_prior(Priors((own,)), PATIENT, own.study_uid, NOW, WEIGHTS).prior is None


@pytest.mark.parametrize(
    "patient",
    [
        PatientIdentity("4711", "ELSEWHERE"),
        PatientIdentity("4711", ""),
        PatientIdentity("4711", "hospital"),
        PatientIdentity("4712", "HOSPITAL"),
        PatientIdentity("471", "HOSPITAL"),
    ],
)
def test_another_identifier_or_issuer_is_another_patient(patient):
    assert compared(earlier(), patient=patient) == NOTHING_EARLIER


def test_two_studies_without_identifier_are_not_of_one_patient():
    nameless = replace(earlier(), patient=PatientIdentity("", "HOSPITAL"))

    assert compared(nameless, patient=PatientIdentity("", "HOSPITAL")).prior is None


def test_without_issuer_on_both_the_identifier_decides():
    one = replace(earlier(), patient=PatientIdentity("4711"))

    assert compared(one, patient=PatientIdentity("4711")).prior == one


@pytest.mark.parametrize("issuers", [("A", "B"), ("A", "", "B")])
def test_a_study_with_two_issuers_is_of_two_patients(issuers):
    with pytest.raises(MixedPatients) as refused:
        only_patient(PatientIdentity("4711", issuer) for issuer in issuers)

    assert "4711" not in str(refused.value)
    assert "4711" not in repr(PatientIdentity("4711", "A"))


def test_an_issuer_that_only_some_images_state_holds_for_all():
    found = only_patient(PatientIdentity("4711", issuer) for issuer in ("", "A", "A"))

    assert found == PatientIdentity("4711", "A")


def test_the_latest_revision_of_the_prior_is_compared():
    first = earlier()
    uid = ("1.2.9.20230301", "1", "2", "2.25.2")
    second = replace(first, report=uid, replaces=frozenset([first.sop_instance_uid]))

    for order in permutations((first, second)):
        assert compared(*order).prior == second


def test_of_two_reports_of_a_study_the_one_written_last_is_compared():
    first = earlier()
    later = replace(
        first,
        report=("1.2.9.20230301", "1", "2", "1.9"),
        written=StudyDate.stated("20250101", "120000"),
    )

    for order in permutations((first, later)):
        assert compared(*order).prior == later


def test_other_weights_are_noticed():
    assert not compared(earlier()).other_weights
    assert compared(earlier(), weights=WEIGHTS[:1]).other_weights
    assert compared(earlier(), weights=[*WEIGHTS, "2.25.7"]).other_weights


def test_priors_change_the_uids_of_results_and_the_same_priors_do_not():
    def uid(since):
        return replace(context(), since=since).uid("1.2.3", "scores")

    uids = [
        uid(NOTHING_EARLIER),
        uid(compared(earlier())),
        uid(compared(earlier(), earlier("20210505"))),
        uid(compared(earlier(), problems=("late",))),
        uid(compared(problems=("late",))),
        uid(compared(problems=("refused",))),
    ]

    assert len(set(uids)) == len(uids)
    assert uid(compared(earlier())) == uids[1]
    assert uid(since_prior(NO_PRIORS, PATIENT, "1.2.3", NOW, WEIGHTS)) == uids[0]


times = st.sampled_from(["", "08", "0815", "081500", "081500.5", "081501", "235959.999999"])
dates = st.sampled_from(["", "20230101", "20230102", "1 Jan", "2023.01.01"])
moments = st.builds(StudyDate.stated, dates, times)


@given(moments, moments, moments)
def test_earlier_is_an_order_whatever_headers_say(one, other, third):
    assert not (one.is_before(other) and other.is_before(one))
    assert not one.is_before(one)
    if one.is_before(other) and other.is_before(third):
        assert one.is_before(third)
