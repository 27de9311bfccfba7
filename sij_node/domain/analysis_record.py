"""What an analysis leaves for people to look at, besides the results that it sends.

Which series it used and why, what the networks found, which networks they were, what a reader
must know, and pictures of the places with most lesions. Nothing here names the patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.findings import Finding


@dataclass(frozen=True)
class SeriesUse:
    """What one series was to the analysis.

    Parameters
    ----------
    number, description
        As the sender wrote them; text from elsewhere.
    images
        How many images or frames it has.
    role
        As in `sij_node.dicom.series_roles.Role`.
    used
        Whether it was analysed.
    reason
        Why it was used or not, in words.
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
    """A network that took part, told apart by its very weights.

    Parameters
    ----------
    sha256
        Hex digest of the weights file.
    intended_use
        What the weights' card says they may be used for.
    """

    name: str
    version: str
    sha256: str
    intended_use: str


@dataclass(frozen=True)
class KeyPicture:
    """A slice with its contours and numbered rings, as a picture in the spool.

    Parameters
    ----------
    place
        Pictures of one place in the body have the same number, from 1.
    sequence
        T1 or STIR.
    image
        What a viewer calls the slice.
    seen
        The lesions of this place in words, in the order of their numbers.
    file_name
        Name within the spool's results.
    """

    place: int
    sequence: str
    image: str
    seen: tuple[str, ...]
    file_name: str


@dataclass(frozen=True)
class AnalysisRecord:
    """Everything that is kept of one analysis for people.

    Parameters
    ----------
    findings
        28, or none where the study was not analysed.
    remarks
        What a reader must know, in whole sentences.
    figures
        As `sij_node.domain.drift.input_figures` names them.
    """

    series: tuple[SeriesUse, ...] = ()
    findings: tuple[Finding, ...] = ()
    networks: tuple[UsedNetwork, ...] = ()
    remarks: tuple[str, ...] = ()
    pictures: tuple[KeyPicture, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


NOTHING_KEPT = AnalysisRecord()
