"""Detectability: how well a simple rule with the true geometry detects each lesion.

The rule looks where a reader would, in the bone beside the joint or in the joint itself, and
compares the signal with marrow of the same bone further away. If it were always right, the
phantom would be too easy; if it were near chance, nothing could be learnt from the phantom.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from models.findings import ILIUM, POSITIONS, Lesion, Position, Region, Side
from models.volume import Volume
from trainer.phantom.anatomy import Joint
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case
from trainer.phantom.lesion_maps import D_MM, V_MM, is_iliac
from trainer.phantom.scan_plan import PatientPose

ZONE_LAYERS_MM = np.arange(1.5, 11, 1.5)
SURFACE_LAYERS_MM, DEEP_LAYERS_MM = np.arange(-0.5, 2.6, 0.5), np.arange(4, 8.1, 0.5)
MARROW_LAYERS_MM = np.arange(13, 20, 2.0)
PATCH_MM = 2.6
"""Radius of the surface patches searched for erosions."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JointAppearance:
    """Signals of one joint on both sequences, relative to marrow further away."""

    case: PhantomCase
    side: Side

    @property
    def joint(self) -> Joint:
        """The true shape."""
        return self.case.patient.pelvis.joints[self.side]

    def bone(self, name: str, region: Region, layers_mm: _Floats) -> _Floats:
        """Signal of the bone in a quadrant, ``(points, layers)``, relative to its marrow."""
        values = self._at(name, region, self._depths(region, layers_mm))
        marrow = self._at(name, Region.JOINT, self._depths(region, MARROW_LAYERS_MM))
        return np.asarray(values / max(float(np.nanmedian(marrow)), 1e-6))

    def space(self, name: str) -> _Floats:
        """Signal along the middle of the joint space, ``(points, 1)``, relative to marrow."""
        marrow = self._at(name, Region.JOINT, np.array([-16.0, -13, 13, 16]))
        values = self._at(name, Region.JOINT, np.array([0.0]))
        return np.asarray(values / max(float(np.nanmedian(marrow)), 1e-6))

    def patches(self, region: Region) -> list[list[int]]:
        """For each point of a quadrant's surface, its neighbours."""
        places = np.stack(self._places(region), axis=1)
        return list(cKDTree(places).query_ball_point(places, PATCH_MM)) if len(places) else []

    def _places(self, region: Region) -> tuple[_Floats, _Floats]:
        """Every third point of a quadrant's surface map, in the pelvis frame."""
        row, column = np.nonzero(self.case.patient.quadrants[self.side].of(region))
        return D_MM[row][::3].astype(np.float64), V_MM[column][::3].astype(np.float64)

    def _depths(self, region: Region, layers_mm: _Floats) -> _Floats:
        below = self.joint.space_mm / 2 + self.joint.cortex_mm + layers_mm
        return below if is_iliac(region) else -below

    def _at(self, name: str, region: Region, across_mm: _Floats) -> _Floats:
        d, v = self._places(region)
        x = self.joint.distance_from_midline(d, v)[:, None] + across_mm / self.joint.steepness
        shape = x.shape
        points = np.stack(
            [
                self.joint.sign * x,
                np.broadcast_to(d[:, None], shape),
                np.broadcast_to(v[:, None], shape),
            ],
            axis=-1,
        )
        return _sampled(self._volume(name), self._view(name), points)

    def _volume(self, name: str) -> Volume:
        return self.case.t1 if name == "t1" else self.case.stir

    def _view(self, name: str) -> PatientPose:
        return self.case.patient.t1 if name == "t1" else self.case.patient.stir


def _sampled(volume: Volume, view: PatientPose, points: _Floats) -> _Floats:
    """Signal at points in the pelvis frame; NaN outside the image."""
    at = np.moveaxis(volume.to_indices(view.pose.to_patient(points)), -1, 0)
    return np.asarray(map_coordinates(volume.voxels, at, order=1, mode="constant", cval=np.nan))


def expert_score(seen: JointAppearance, position: Position) -> float:
    """The rule's confidence that a lesion is present; only its ranking matters."""
    lesion, region = position.head.lesion, position.head.region
    if lesion is Lesion.OEDEMA:
        return _excess(seen.bone("stir", region, ZONE_LAYERS_MM), 1.25)
    if lesion is Lesion.FATTY_LESION:
        t1, stir = (seen.bone(name, region, ZONE_LAYERS_MM) for name in ("t1", "stir"))
        return _excess(np.log(np.maximum(t1, 0.05) / np.maximum(stir, 0.05)), 0.3)
    if lesion is Lesion.EROSION:
        return _brightest_patch(seen, region)
    if lesion is Lesion.SCLEROSIS:
        return sum(_lack(seen.bone("t1", one, ZONE_LAYERS_MM), 0.7) for one in ILIUM)
    return _excess(seen.space("t1"), 0.75)


def _brightest_patch(seen: JointAppearance, region: Region) -> float:
    """Contrast of the brightest surface patch on STIR against the bone beneath."""
    patches = seen.patches(region)
    if not patches:
        return 0.0
    surface, deep = (
        seen.bone("stir", region, layers).mean(axis=1)
        for layers in (SURFACE_LAYERS_MM, DEEP_LAYERS_MM)
    )
    step = np.array([(surface - deep)[patch].mean() for patch in patches])
    return float(np.nan_to_num(np.nanquantile(step, 0.95) - np.nanmedian(step)))


def _excess(values: _Floats, above: float) -> float:
    return float(np.nan_to_num(np.nanmean(np.clip(values - above, 0, None)))) if values.size else 0


def _lack(values: _Floats, below: float) -> float:
    return float(np.nan_to_num(np.nanmean(np.clip(below - values, 0, None)))) if values.size else 0


def auc(scores: _Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; NaN where one of both classes is missing."""
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def detectability(
    out: Annotated[Path | None, typer.Option(help="JSON file to write the table to.")] = None,
    cases: Annotated[int, typer.Option(help="Number of patients.")] = 60,
    first_seed: Annotated[int, typer.Option(help="Seed of the first patient.")] = 700_000,
    style: Annotated[str, typer.Option(help="plain, plausible, randomised or any.")] = "plausible",
    disease: Annotated[str, typer.Option(help="early, mixed, advanced, balanced.")] = "balanced",
) -> None:
    """Measure how well a simple rule with the true geometry detects the phantom's lesions."""
    options = PhantomOptions(style=style, disease=disease)
    scores, truth = defaultdict(list), defaultdict(list)
    for seed in range(first_seed, first_seed + cases):
        case = make_case(seed, options)
        if not case.lesions_readable:
            continue
        for position in POSITIONS:
            lesion = position.head.lesion
            scores[lesion].append(expert_score(JointAppearance(case, position.side), position))
            truth[lesion].append(case.severity[position] > 0)
    table = {
        str(lesion): {
            "positions": len(truth[lesion]),
            "positive": int(np.sum(truth[lesion])),
            "auc": round(auc(np.array(scores[lesion]), np.array(truth[lesion])), 3),
        }
        for lesion in Lesion
    }
    typer.echo(json.dumps(table, indent=1))
    if out is not None:
        out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
