"""Contours under other scan geometries: ``python -m trainer evaluate geometry``.

The same phantoms are imaged again with one thing changed at a time: field of view, position in the
image, tilt towards axial, rotation. What is cut off by the edge of the image counts for nothing.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import cos, radians, sin
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from models.delineate import ContourNetwork, ContourRules, loaded_contour_network
from models.weights import read_card
from trainer.evaluation.evaluate_phantoms import scans_of
from trainer.evaluation.evaluate_real import Row, cell, delineated, judged_scans, summary_of
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.markdown_table import markdown
from trainer.phantom.case import PhantomOptions, make_case
from trainer.phantom.scan_plan import PatientPose, ScanPlan, coronal_axes
from trainer.run_metadata import evaluation_origin

FIRST = 21000
OPTIONS = PhantomOptions(slices=14, style="plausible")
MATRIX = 320


@dataclass(frozen=True)
class ScanGeometry:
    """What is changed about a plausible scan plan.

    Parameters
    ----------
    field_of_view_mm
        Of the square image of 320 × 320 pixels.
    down_mm, left_mm
        How far the middle of the image is moved to the patient's feet and left.
    tilt_deg
        Of the slices towards axial, from coronal; None keeps the plan's, along the sacrum.
    rotated_deg
        Rotation of the image within its plane.
    """

    field_of_view_mm: float = 260.0
    down_mm: float = 0.0
    left_mm: float = 0.0
    tilt_deg: float | None = None
    rotated_deg: float = 0.0

    def replanned(self, plan: ScanPlan) -> ScanPlan:
        """The plan with this geometry for both sequences."""
        return replace(plan, t1=self._moved(plan.t1), stir=self._moved(plan.stir))

    def _moved(self, view: PatientPose) -> PatientPose:
        tilt = self.tilt_deg
        axes = view.slab.axes if tilt is None else coronal_axes(radians(tilt))
        slab = replace(
            view.slab,
            axes=axes @ _within_the_plane(self.rotated_deg),
            centre_mm=view.pose.origin_mm + axes @ np.array([0.0, self.down_mm, self.left_mm]),
            field_of_view_mm=self.field_of_view_mm,
            matrix=MATRIX,
            shape=None,
        )
        return replace(view, slab=slab)


def _within_the_plane(degrees: float) -> NDArray[np.float64]:
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


GEOMETRIES: Mapping[str, ScanGeometry] = {
    "field of view 160 mm": ScanGeometry(160),
    "field of view 200 mm": ScanGeometry(200),
    "field of view 320 mm": ScanGeometry(320),
    "field of view 450 mm": ScanGeometry(450),
    "lower half cut off": ScanGeometry(200, down_mm=-95),
    "left joint cut off": ScanGeometry(160, left_mm=-65),
    "60 mm off-centre": ScanGeometry(320, down_mm=-60, left_mm=60),
    "true coronal": ScanGeometry(tilt_deg=0),
    "tilted by 45°": ScanGeometry(tilt_deg=45),
    "tilted by 60°": ScanGeometry(tilt_deg=60),
    "rotated by 20°": ScanGeometry(rotated_deg=20),
    "rotated by -20°": ScanGeometry(rotated_deg=-20),
}


def evaluate_geometry(
    weights: Annotated[Path, typer.Option(help="Folder of the contour network.")] = SHIPPED_WEIGHTS
    / "contour",
    patients: Annotated[int, typer.Option(help="Phantoms imaged with each geometry.")] = 8,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Evaluate contours under unusual fields of view, positions, tilts and rotations."""
    network, rules = loaded_contour_network(weights)
    tables = {}
    for name, geometry in GEOMETRIES.items():
        seeds = range(FIRST, FIRST + patients)
        judged = (judged_geometry(network, rules, seed, geometry) for seed in seeds)
        tables[name] = summary_of([*chain.from_iterable(judged)])
    card = read_card(weights)
    numbers = {
        **evaluation_origin(card, " ".join(sys.argv[1:])),
        "geometries": tables,
    }
    print(f"{numbers['network']}, {patients} plausible phantoms")
    print(geometry_table(tables))
    if report is not None:
        report.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def judged_geometry(
    network: ContourNetwork, rules: ContourRules, seed: int, geometry: ScanGeometry
) -> list[Row]:
    """Every joint on every slice of one phantom imaged with a geometry."""
    case = make_case(seed, OPTIONS, geometry.replanned)
    scans = scans_of(seed, (case.t1, case.stir), (case.t1_truth, case.stir_truth))
    return judged_scans(scans, delineated(network, rules, scans))


COLUMNS = ("lines", "missed, %", "false, %", "rms p50, mm", "rms p75, mm", "rms p95, mm")


def geometry_table(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each geometry, as Markdown."""
    rows = ([name, *(cell(table[column]) for column in COLUMNS)] for name, table in tables.items())
    return markdown(["geometry", *COLUMNS], rows)
