"""Oedema on real images beside readers' outlines: ``python -m trainer evaluate oedema FOLDER``.

An outline counts for the quadrant beside the joint in which it lies; what lies outside the
quadrants does not count. The quadrants follow from the node's own contours, as in a report.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from models.analyser import Analyser, Analysis
from models.findings import Finding, Lesion, Presence
from models.regions import REGION_LABELS
from models.weights import read_card
from trainer.errors import TrainingInputInvalid
from trainer.evaluation.real_scans import RealScan, read_studies
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.markdown_table import markdown, written
from trainer.run_metadata import evaluation_origin

LEAST_ML = 0.5
"""A quadrant with more oedema than this in every outline should be called."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class QuadrantOedema:
    """One quadrant: what readers outlined there, and what the node found.

    Parameters
    ----------
    outlined_ml
        Volume of each outline inside the quadrant, by reader and session.
    finding
        The node's.
    """

    case: str
    outlined_ml: tuple[float, ...]
    finding: Finding

    @property
    def called(self) -> bool:
        """Whether the node calls oedema present."""
        return self.finding.presence is Presence.PRESENT

    @property
    def agreed(self) -> bool:
        """Whether every outline holds more than `LEAST_ML`."""
        return bool(self.outlined_ml) and min(self.outlined_ml) > LEAST_ML

    @property
    def empty(self) -> bool:
        """Whether nobody outlined anything here."""
        return bool(self.outlined_ml) and not any(self.outlined_ml)


def evaluate_oedema(
    folder: Annotated[Path, typer.Argument(help="T1 and STIR with outlined oedema.")],
    weights: Annotated[Path, typer.Option(help="Folder of both networks.")] = SHIPPED_WEIGHTS,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Compare oedema with readers' outlines on real images, by quadrant."""
    analyser = Analyser.load(weights)
    studies = [scans for scans in read_studies(folder) if len(scans) == 2 and scans[1].oedema]
    if not studies:
        raise TrainingInputInvalid(
            f"{folder} has no study with T1, STIR and outlines; needed are CASE_T1W.nii.gz, "
            "CASE_STIR.nii.gz and oedema/CASE_*.nii.gz"
        )
    quadrants = [one for scans in studies for one in _quadrants(analyser, scans)]
    card = read_card(weights / "lesion")
    numbers = oedema_numbers(quadrants) | evaluation_origin(
        card, f"{' '.join(sys.argv[1:2])} oedema FOLDER"
    )
    print(oedema_page(quadrants, numbers))
    if report is not None:
        report.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _quadrants(analyser: Analyser, scans: Sequence[RealScan]) -> Iterator[QuadrantOedema]:
    t1, stir = scans
    analysis = analyser.analyse(t1.volume, stir.volume)
    yield from quadrants_of(stir, analysis)


def quadrants_of(stir: RealScan, analysis: Analysis) -> list[QuadrantOedema]:
    """Oedema of every quadrant of a study, as outlined and as found.

    Parameters
    ----------
    stir
        With the outlines.
    analysis
        Of the same volume.
    """
    voxel_ml = float(np.prod(stir.volume.spacing_mm)) / 1000
    return [
        QuadrantOedema(
            stir.case,
            tuple(
                float((outline & (analysis.stir_regions == _label(finding))).sum()) * voxel_ml
                for outline in stir.oedema
            ),
            finding,
        )
        for finding in analysis.findings
        if finding.position.head.lesion is Lesion.OEDEMA
    ]


def _label(finding: Finding) -> int:
    return REGION_LABELS[finding.position.side, finding.position.head.region]


def oedema_numbers(quadrants: Sequence[QuadrantOedema]) -> dict[str, Any]:
    """Quadrants found and called wrongly, and the agreement of readers and node (Cohen's kappa)."""
    called = np.array([one.called for one in quadrants])
    agreed = np.array([one.agreed for one in quadrants])
    empty = np.array([one.empty for one in quadrants])
    outlined = np.array([one.outlined_ml for one in quadrants]) > LEAST_ML
    pairs = combinations(range(outlined.shape[1]), 2)
    agreement = [kappa(outlined[:, i], outlined[:, k]) for i, k in pairs]
    return {
        "studies": len({one.case for one in quadrants}),
        "quadrants": len(quadrants),
        f"outlined by all with more than {LEAST_ML} ml": int(agreed.sum()),
        "of these called": int((called & agreed).sum()),
        "outlined by nobody": int(empty.sum()),
        "of those called": int((called & empty).sum()),
        "kappa between outlines": [round(one, 2) for one in agreement],
        "kappa of the node with each outline": [round(kappa(called, one), 2) for one in outlined.T],
    }


def kappa(one: Flags, other: Flags) -> float:
    """Cohen's kappa of two binary ratings; 1 where both are constant and the same."""
    observed = float((one == other).mean())
    a, b = float(one.mean()), float(other.mean())
    expected = a * b + (1 - a) * (1 - b)
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def oedema_page(quadrants: Sequence[QuadrantOedema], numbers: dict[str, Any]) -> str:
    """The numbers, and every quadrant, as Markdown."""
    rows = [
        [
            one.case,
            str(one.finding.position),
            ", ".join(f"{ml:.1f}" for ml in one.outlined_ml),
            written(np.nan if one.finding.probability is None else one.finding.probability),
            str(one.finding.presence),
        ]
        for one in quadrants
    ]
    table = markdown(["case", "quadrant", "outlined, ml", "probability", "node"], rows)
    summary = markdown(["", ""], ([name, str(value)] for name, value in numbers.items()))
    return f"{summary}\n\n{table}"
