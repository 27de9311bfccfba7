"""The research table identifies nobody, and keeps intervals and every number."""

from dataclasses import replace
from datetime import date

import pytest

from models.burden_scores import BurdenName, BurdenScore
from models.findings import POSITIONS, Finding
from sij_node.domain.analysis_record import AnalysisRecord, UsedNetwork
from sij_node.domain.job_list import JobPatient
from sij_node.domain.research_table import (
    ExportedDates,
    ResearchStudy,
    exported_date,
    research_rows,
    research_study,
    research_subject,
)

KEY, JANE = b"secret", JobPatient("DOE-4711", "HOSPITAL")
RECORD = AnalysisRecord(
    findings=tuple(
        Finding(position, None if number == 3 else number / 28, 0.5)
        for number, position in enumerate(POSITIONS)
    ),
    networks=(UsedNetwork("lesion", "0.6.0", "ab" * 32, "Phantoms only"),),
    figures={"T1 pixel mm": 0.6},
    asas_met=False,
)


def shifted(day: str, patient: JobPatient = JANE) -> str:
    return exported_date(KEY, research_subject(KEY, patient), day, ExportedDates.SHIFTED)


def test_a_patient_has_one_pseudonym_for_each_secret_key():
    subject = research_subject(KEY, JANE)

    assert subject == research_subject(KEY, JobPatient("DOE-4711", "HOSPITAL"))
    assert len({subject, research_subject(b"other", JANE), research_study(KEY, "DOE-4711")}) == 3
    assert subject != research_subject(KEY, JobPatient("DOE-4711", "OTHER HOSPITAL"))
    assert "4711" not in subject


def test_dates_are_shifted_and_intervals_of_a_patient_are_kept():
    first, second = (date.fromisoformat(shifted(day)) for day in ("20230301", "20240301"))

    assert first < date(2023, 3, 1)
    assert (second - first).days == 366
    assert shifted("20230301") != shifted("20230301", JobPatient("P2", ""))


@pytest.mark.parametrize("day", ["", "2023", "20231399", "00010101", "DOE"])
def test_a_date_that_is_none_is_left_empty(day: str):
    assert shifted(day) == ""


def test_only_the_year_or_nothing_is_exported_if_asked_for():
    assert exported_date(KEY, "s", "20230301", ExportedDates.YEAR) == "2023"
    assert exported_date(KEY, "s", "20230301", ExportedDates.NONE) == ""
    assert exported_date(KEY, "", "20230301", ExportedDates.YEAR) == ""


def test_a_row_has_every_score_threshold_and_figure():
    older = ResearchStudy("s2", "st2", "", AnalysisRecord())

    head, row, bare = research_rows([ResearchStudy("s1", "st1", "2023", RECORD), older])

    found = dict(zip(head, row, strict=True))
    assert len(head) == len(set(head)) == 5 + 3 * 28 + 1
    assert row[:5] == ("s1", "st1", "2023", "lesion 0.6.0", "0")
    assert found["left_joint_ankylosis_probability"] == "0.9643"
    assert found["left_joint_ankylosis_threshold"] == "0.5000"
    assert found["left_joint_ankylosis_present"] == "1"
    assert found["right_upper_ilium_oedema_present"] == "0"
    assert found["right_lower_sacrum_oedema_probability"] == ""
    assert found["right_lower_sacrum_oedema_present"] == ""
    assert found["figure_T1_pixel_mm"] == "0.6"
    assert bare == ("s2", "st2", *[""] * (len(head) - 2))


def test_lesion_burden_has_columns_where_a_study_has_it():
    scored = replace(RECORD, burden=(BurdenScore(BurdenName.SPARCC_INFLAMMATION, 14, 9, 19),))
    studies = [ResearchStudy(f"s{n}", "", "", one) for n, one in enumerate((scored, RECORD))]

    head, row, other = (dict(enumerate(one)) for one in research_rows(studies))

    first = next(n for n, name in head.items() if name == "sparcc_inflammation")
    assert [head[first + n] for n in (1, 2)] == [
        "sparcc_inflammation_low",
        "sparcc_inflammation_high",
    ]
    assert [row[first + n] for n in range(3)] == ["14", "9", "19"]
    assert [other[first + n] for n in range(3)] == ["", "", ""]
