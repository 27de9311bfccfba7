"""Whether certainty tells where contours are wrong: ``python -m trainer evaluate certainty``.

The certainty of a joint on a sequence is the mean quality of its contours, as in reports. A joint
counts as wrong if more than a third of its lines are missed or more than 3 mm off, or if it is not
there at all. Joints without any contour are left out: a report says by itself that none was found.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models.delineate import loaded_contour_network
from models.findings import Side
from models.quality_limits import QualityLimits
from models.weights import read_card
from trainer.evaluation.evaluate_phantoms import scans_of, second_scans
from trainer.evaluation.evaluate_real import Row, delineated, judged_scan
from trainer.evaluation.real_scans import RealScan, read_studies
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.markdown_table import markdown
from trainer.metrics.classification import auc
from trainer.phantom.case import PhantomOptions, make_case
from trainer.run_metadata import evaluation_origin

FAR_MM, WRONG_SHARE = 3.0, 1 / 3
OWN_FIRST, SECOND_FIRST, NEGATIVE_FIRST = 500_000, 31_000, 600_000
OWN = PhantomOptions(disease="balanced", style="any")
NEGATIVE = PhantomOptions(style="any", without_joints=True)


@dataclass(frozen=True)
class JointCertainty:
    """One joint on one sequence that has contours."""

    kind: str
    certainty: float
    is_wrong: bool


def evaluate_certainty(
    weights: Annotated[Path, typer.Option(help="Folder of the contour network.")] = SHIPPED_WEIGHTS
    / "contour",
    real: Annotated[Path | None, typer.Option(help="Real scans with drawn lines.")] = None,
    own: Annotated[int, typer.Option(help="Patients of the first phantom.")] = 40,
    others: Annotated[int, typer.Option(help="Of the second phantom, and of other regions.")] = 20,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Evaluate whether low certainty tells where contours are wrong."""
    network, rules = loaded_contour_network(weights)
    joints: list[JointCertainty] = []
    for kind, scans in _studies(real, own, others):
        found = delineated(network, rules, scans)
        for scan, delineation in zip(scans, found, strict=True):
            joints += certainties(kind, scan, judged_scan(scan, delineation))
    card = read_card(weights)
    numbers = {
        **evaluation_origin(card, f"{' '.join(sys.argv[1:2])} certainty"),
        "certainty": certainty_summary(joints),
    }
    print(f"{numbers['network']}\n{certainty_table(joints)}")
    if report is not None:
        report.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _studies(real: Path | None, own: int, others: int) -> Iterator[tuple[str, list[RealScan]]]:
    if real is not None:
        for scans in read_studies(real):
            if scans[0].lines is not None:
                yield "real", scans
    for first, count, options in (
        (OWN_FIRST, own, OWN),
        (NEGATIVE_FIRST, others, NEGATIVE),
    ):
        for seed in range(first, first + count):
            case = make_case(seed, options)
            scans = scans_of(seed, (case.t1, case.stir), (case.t1_truth, case.stir_truth))
            yield "own phantom" if options is OWN else "other regions", scans
    for seed in range(SECOND_FIRST, SECOND_FIRST + others):
        yield "second phantom", second_scans(seed)


def certainties(kind: str, scan: RealScan, rows: Sequence[Row]) -> Iterator[JointCertainty]:
    """The joints of a scan that have contours; ambiguous slices do not count.

    Parameters
    ----------
    rows
        Of the scan, from `judged_scan`.
    """
    for side in Side:
        found = [row for row in rows if row.side is side and row.found]
        if found:
            drawn = [row for row in rows if row.side is side and row.drawn and not row.ambiguous]
            far = [row.error.rms > FAR_MM for row in drawn]
            wrong = not far or float(np.mean(far)) > WRONG_SHARE
            yield JointCertainty(kind, float(np.mean([row.quality for row in found])), wrong)


def certainty_summary(joints: Sequence[JointCertainty]) -> dict[str, dict[str, Any]]:
    """AUC of low certainty for wrong joints, and how many are doubted, by kind and over all."""
    limit = QualityLimits().certainty
    kinds = {kind: [one for one in joints if one.kind == kind] for kind in _kinds(joints)}
    return {kind: _figures(of_kind, limit) for kind, of_kind in {**kinds, "all": joints}.items()}


def _kinds(joints: Sequence[JointCertainty]) -> Mapping[str, None]:
    return dict.fromkeys(one.kind for one in joints)


def _figures(joints: Sequence[JointCertainty], limit: float) -> dict[str, Any]:
    wrong = np.array([one.is_wrong for one in joints])
    doubt = np.array([1 - one.certainty for one in joints])
    doubted = doubt > 1 - limit
    return {
        "joints": len(joints),
        "wrong": int(wrong.sum()),
        "AUC": round(auc(wrong, doubt), 3) if 0 < wrong.sum() < len(wrong) else "",
        "wrong and doubted": int((doubted & wrong).sum()),
        "right but doubted": int((doubted & ~wrong).sum()),
    }


def certainty_table(joints: Sequence[JointCertainty]) -> str:
    """The summary as Markdown."""
    summary = certainty_summary(joints)
    rows = ([kind, *figures.values()] for kind, figures in summary.items())
    return markdown(["joints of", *summary["all"]], rows)
