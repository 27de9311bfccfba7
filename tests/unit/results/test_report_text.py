"""The text for the report is the same everywhere, complete, and in the wanted language."""

from models.findings import POSITIONS, Finding
from sij_node.domain.analysis_record import AnalysisRecord, UsedNetwork
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.results.language import WORDINGS
from sij_node.results.report_text import report_text

RECORD = AnalysisRecord(
    findings=tuple(
        Finding(position, 0.9 if n == 0 else 0.1, 0.5) for n, position in enumerate(POSITIONS)
    ),
    networks=tuple(UsedNetwork(name, "1", "", "Phantoms only.") for name in ("contour", "lesion")),
    asas_met=True,
    prior=ComparedPrior("2023-03-01", tuple(Finding(p, 0.1, 0.5) for p in POSITIONS)),
)


def test_it_says_conclusion_changes_intended_use_and_whose_sides():
    lines = str(report_text(RECORD, WORDINGS["en"])).splitlines()

    assert lines[0] == "RIGHT: oedema upper ilium."
    assert lines[1].startswith("LEFT: no ")
    assert "Compared with the prior study of 2023-03-01." in lines
    assert "New: right oedema upper ilium." in lines
    assert lines[-2:] == ["Phantoms only.", "Right and left refer to the patient."]


def test_it_is_written_in_german_for_a_german_report():
    text = str(report_text(RECORD, WORDINGS["de"]))

    assert text.startswith("RECHTS: ")
    assert "Right" not in text


def test_a_study_that_was_not_analysed_has_no_text():
    assert str(report_text(AnalysisRecord(), WORDINGS["en"])) == ""
