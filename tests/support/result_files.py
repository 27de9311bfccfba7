"""Results of a small study as files, and changes made to them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from sij_node.config.profiles import preset
from sij_node.domain.prior_comparison import NOTHING_EARLIER, SincePrior
from sij_node.results.build import AnalysedStudy, result_objects
from sij_node.results.provenance import to_part10
from sij_node.verify.expected_results import ExpectedResults
from tests.support.mr_series import oblique
from tests.support.prior_reports import earlier
from tests.support.result_inputs import context
from tests.support.small_study import drawn_study, headers_of, turned

Change = Callable[[Dataset], object]


@dataclass(frozen=True, eq=False)
class Made:
    """A study, and its results as files by their kind."""

    evidence: ExpectedResults
    files: dict[str, bytes]

    def changed(self, kind: str, change: Change) -> list[bytes]:
        """One of the files, changed."""
        dataset = dcmread(BytesIO(self.files[kind]))
        change(dataset)
        return [to_part10(dataset, "NODE")]


def evidence_of(study: AnalysedStudy, since: SincePrior = NOTHING_EARLIER) -> ExpectedResults:
    return ExpectedResults(
        tuple(headers_of(study)),
        study.series,
        tuple(study.findings),
        since,
        burden=tuple(study.burden),
    )


def made(study: AnalysedStudy, since: SincePrior = NOTHING_EARLIER, **profile) -> Made:
    drawn = {"objects": ("seg", "findings", "scores", "presentation"), **profile}
    wanted = preset("everything").model_copy(update=drawn)
    objects = result_objects(study, replace(context(), profile=wanted, since=since))
    return Made(
        evidence_of(study, since), {one.kind: to_part10(one.dataset, "NODE") for one in objects}
    )


orientations = st.builds(
    turned,
    st.builds(oblique, st.floats(-45, 45), st.floats(-30, 30)),
    st.floats(0, 360),
    st.booleans(),
)


def for_people(language: str) -> Made:
    """PDF and summary of a study with a prior."""
    since = SincePrior(earlier(), (), True)
    return made(
        drawn_study(),
        since,
        objects=("summary", "pdf"),
        language=language,
        summary_compression="jpeg-ls" if language == "de" else "none",
    )


def assert_names_no_patient(error: Exception) -> None:
    said = re.sub(r"\b2\.25\.\d+", "", str(error))  # digits of a UID may look like a patient ID
    assert not any(secret in said for secret in ("Muster", "4711", "1980", "HOSPITAL"))
