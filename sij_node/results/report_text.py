"""The text of a study's findings, to be pasted into the radiologist's report.

Page, API and command line take it from here, so that what is pasted is the same everywhere.
"""

from dataclasses import dataclass

from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.results.conclusion import (
    burden_changes,
    burden_in_words,
    conclusion,
    prior_changes,
)
from sij_node.results.language import Wording


@dataclass(frozen=True)
class ReportText:
    """The findings in full sentences.

    Parameters
    ----------
    conclusion
        What each joint shows, the patient's right first.
    changes
        What is new since the prior study; empty without one.
    notes
        Intended use of the networks, and whose right and left are meant.
    """

    conclusion: tuple[str, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Plain text, a sentence on each line; empty if the study was not analysed."""
        return "\n".join((*self.conclusion, *self.changes, *self.notes) if self.conclusion else ())


def report_text(record: AnalysisRecord, wording: Wording) -> ReportText:
    """The text of an analysis in one language."""
    intended = wording.intended_use(one.intended_use for one in record.networks)
    side = wording.side_of_patient
    return ReportText(
        (
            *conclusion(record.findings, record.asas_met, wording),
            *burden_in_words(record.burden, wording),
        ),
        (
            *prior_changes(record.prior, record.findings, wording),
            *burden_changes(record.prior, record.burden, wording),
        ),
        (*filter(None, [intended]), f"{side[:1].upper()}{side[1:]}."),
    )
