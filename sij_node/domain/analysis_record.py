"""The stored record of an analysis for the study page and the command line.

It contains the series used and why, the findings, the networks, notes for the reader, and the key
images. It never identifies the patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.burden_scores import BurdenScore
from models.findings import Finding
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.domain.study import StudyAttributes


@dataclass(frozen=True)
class SeriesUse:
    """The role of a series in the analysis.

    Parameters
    ----------
    number, description
        As sent, hence untrusted text.
    images
        Number of images or frames.
    role
        As in `sij_node.dicom.series_roles.Role`.
    used
        Whether it was analysed.
    reason
        Why it was used or not.
    """

    series_uid: str
    number: str
    description: str
    images: int
    role: str
    used: bool
    reason: str


@dataclass(frozen=True)
class UsedNetwork:
    """A network, identified by its weights.

    Parameters
    ----------
    sha256
        Hex digest of the weights file.
    intended_use
        As stated on the model card.
    """

    name: str
    version: str
    sha256: str
    intended_use: str


@dataclass(frozen=True)
class KeyPicture:
    """A slice with its contours and rings around lesions, as a picture in the spool.

    Parameters
    ----------
    place
        Number of the location, from 1; T1 and STIR at one location share it.
    sequence
        T1 or STIR.
    image
        The number that viewers show for the slice.
    seen
        Descriptions of the lesions at this location, in the order of their labels.
    file_name
        Name within the spool's results.
    labels
        What marks each lesion on the picture, e.g. ``O`` or ``E2``; empty in old records, whose
        lesions are numbered.
    """

    place: int
    sequence: str
    image: str
    seen: tuple[str, ...]
    file_name: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnalysisRecord:
    """Everything that is stored of an analysis for display.

    Parameters
    ----------
    findings
        All 28, or none if the study was not analysed.
    remarks
        Notes for the reader, in full sentences.
    figures
        From `sij_node.domain.drift.input_figures`.
    asas_met
        Whether the ASAS criterion of active sacroiliitis is met; None if unknown.
    prior
        The prior study that was compared with.
    study
        Stored for the study, not with the analysis: it is removed with the images.
    burden
        Scores of lesion burden; none in older records, or if the slices do not allow them.
    """

    series: tuple[SeriesUse, ...] = ()
    findings: tuple[Finding, ...] = ()
    networks: tuple[UsedNetwork, ...] = ()
    remarks: tuple[str, ...] = ()
    pictures: tuple[KeyPicture, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    asas_met: bool | None = None
    prior: ComparedPrior | None = None
    study: StudyAttributes | None = None
    burden: tuple[BurdenScore, ...] = ()


NOTHING_KEPT = AnalysisRecord()
