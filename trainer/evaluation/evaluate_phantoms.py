"""Contours on both phantoms, from the volumes: ``python -m trainer evaluate phantoms``.

The same evaluation as on real images (`trainer.evaluation.evaluate_real`), for any contour
network, whatever scale it works at.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from models.acceptance import shows_joints
from models.delineate import loaded_contour_network
from models.delineation import Delineation
from models.volume import Volume
from models.weights import read_card
from trainer.evaluation.evaluate_real import (
    Row,
    delineated,
    judged_scans,
    summary_of,
    table_of,
)
from trainer.evaluation.real_scans import RealScan
from trainer.evaluation.study_sets import SECOND_FIRST
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.phantom.case import make_case, training_options
from trainer.phantom.second_phantom import make_second_case
from trainer.prepared_cases import canonical_sighting
from trainer.run_metadata import evaluation_origin

FIRST = 20000

Studies = Iterator[tuple[str, list[RealScan]]]


def evaluate_phantoms(
    weights: Annotated[Path, typer.Option(help="Folder of the contour network.")] = SHIPPED_WEIGHTS
    / "contour",
    own: Annotated[int, typer.Option(help="Patients of the first phantom.")] = 40,
    second: Annotated[int, typer.Option(help="Patients of the second phantom.")] = 20,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Evaluate contours on phantoms not used for training, by style."""
    network, rules = loaded_contour_network(weights)
    rows: dict[str, list[Row]] = {}
    rejected: dict[str, int] = {}
    for style, scans in _studies(own, second):
        seen = delineated(network, rules, scans)
        rejected[style] = rejected.get(style, 0) + (not shows_joints(seen))
        rows.setdefault(style, []).extend(judged_scans(scans, seen))
    card = read_card(weights)
    tables = {style: summary_of(of_style) for style, of_style in sorted(rows.items())}
    numbers = {
        **evaluation_origin(card, " ".join(sys.argv[1:])),
        "refused": rejected,
        "phantoms": tables,
    }
    print(f"{numbers['network']}, rejected: {rejected}")
    print(table_of("phantoms", tables))
    if report is not None:
        report.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _studies(own: int, second: int) -> Studies:
    for seed in range(FIRST, FIRST + own):
        case = make_case(seed, training_options(seed))
        style = case.parameters["style"]
        name = str(style["name"] if isinstance(style, dict) else style)
        yield name, scans_of(seed, (case.t1, case.stir), (case.t1_truth, case.stir_truth))
    for seed in range(SECOND_FIRST, SECOND_FIRST + second):
        yield "second phantom", second_scans(seed)


def second_scans(seed: int) -> list[RealScan]:
    """T1 and STIR of a patient of the second phantom, with the true contours as lines."""
    drawn = make_second_case(seed)
    return scans_of(seed, (drawn.t1, drawn.stir), (drawn.t1_truth, drawn.stir_truth))


def scans_of(seed: int, volumes: Sequence[Volume], truths: Sequence[Delineation]) -> list[RealScan]:
    """A phantom's T1 and STIR with the true contours as lines."""
    scans = []
    for kind, volume, truth in zip(("T1W", "STIR"), volumes, truths, strict=True):
        sighting = canonical_sighting(volume, truth)
        lines = {(c.slice_index, c.side): c.points for c in sighting.delineation.contours}
        scans.append(RealScan(str(seed), kind, sighting.volume, lines, frozenset(), None))
    return scans
