"""A pelvis as labels: which tissue lies at each point, for images drawn while training.

The first phantom paints signals; this one names tissues only, so that one anatomy can be given
ever new appearances (`trainer.phantom.appearance`). It is made to resemble oblique-coronal
slices: a wedge-shaped ilium, a tapering sacrum with foramina and canal, streaky ligaments and
muscles, a pelvic cavity with bowel and vessels, subcutaneous fat and air.

Positions are millimetres in the pelvis' own frame: ``x`` lateral (always positive: one half is
drawn at a time), ``d`` backwards across the sacrum, ``v`` upwards along it.

Source: labels with random appearance after SynthSeg (Billot et al., Med Image Anal 2023); the
anatomy is ours.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Grid = NDArray[np.floating[Any]]
Labels = NDArray[np.uint8]


class TissueLabel(IntEnum):
    """What a label stands for."""

    AIR = 0
    SKIN_FAT = 1
    MUSCLE = 2
    STREAK = 3
    FAT = 4
    ORGAN = 5
    FLUID = 6
    GAS = 7
    VESSEL = 8
    PSOAS = 9
    SACRUM = 10
    ILIUM = 11
    CORTEX = 12
    CARTILAGE = 13
    LIGAMENT = 14
    LIGAMENT_FAT = 15
    DISC = 16
    CANAL = 17
    NERVE = 18
    FORAMEN_FAT = 19
    SCLEROSIS = 20
    OEDEMA = 21
    FATTY_LESION = 22
    EROSION = 23
    VERTEBRA = 24
    MARROW_ISLAND = 25
    BACKFILL = 26


_NOISE_CELLS = 40
_SMOOTH_MM = 6.0
"""Noise of this grain and coarser is computed at every third pixel and interpolated."""


class Noise:
    """Smooth periodic noise of unit variance in three dimensions.

    Parameters
    ----------
    rng
        Source of the noise.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        grid = rng.standard_normal((_NOISE_CELLS,) * 3).astype(np.float32)
        smooth = gaussian_filter(grid, 0.7, mode="wrap")
        self._grid = smooth / smooth.std()

    def at(self, x: Grid, d: Grid, v: Grid, grain: tuple[float, float, float], lane: int) -> Grid:
        """Noise at points, all of one shape.

        Parameters
        ----------
        grain
            Millimetres between independent values along x, d and v.
        lane
            Another number gives other noise.
        """
        if min(grain) < _SMOOTH_MM:
            return self._at(x, d, v, grain, lane)
        rows, columns = (_kept_places(size) for size in x.shape)
        few = np.ix_(rows.places, columns.places)
        found: Grid = rows.weights @ self._at(x[few], d[few], v[few], grain, lane)
        return found @ columns.weights.T

    def _at(self, x: Grid, d: Grid, v: Grid, grain: tuple[float, float, float], lane: int) -> Grid:
        shift = 7.3 * lane
        places = np.stack([x / grain[0] + shift, d / grain[1] + 2 * shift, v / grain[2] - shift])
        found: Grid = map_coordinates(
            self._grid, places.reshape(3, -1), order=1, mode="grid-wrap", prefilter=False
        ).reshape(x.shape)
        return found


@dataclass(frozen=True, eq=False)
class _KeptPlaces:
    """Every third pixel of an axis, and how all pixels follow from these."""

    places: NDArray[np.intp]
    weights: NDArray[np.float32]


@cache
def _kept_places(size: int) -> _KeptPlaces:
    places = np.unique(np.append(np.arange(0, size, 3), size - 1))
    weights = [np.interp(np.arange(size), places, one) for one in np.eye(len(places))]
    return _KeptPlaces(places, np.stack(weights, axis=1).astype(np.float32))


def _step(at: Grid) -> Grid:
    at = np.clip(at, 0, 1)
    return at * at * (3 - 2 * at)


@dataclass(frozen=True)
class PelvisHalf:
    """One half of a pelvis: every number that shapes it, lengths in mm.

    Parameters
    ----------
    width, slope, slope_d, bow, lean
        The joint's midsurface ``x = width + slope · v + slope_d · d + bow · ((v/30)² − .35)``,
        which leans laterally by `lean` more behind the cartilage.
    ripple, fine_ripple
        Heights of its irregularities of about 14 and 5 mm.
    apex, cranial, caudal, limb
        The auricular surface: two limbs of this radius from the apex to both ends, as (d, v).
    space, iliac_plate, sacral_plate
        Thickness of cartilage, and of the cortex on either side.
    opening, sacral_opening
        How fast both bones part beyond their cartilage.
    iliac_cleft, sacral_cleft
        How far they part at most: the cleft of the interosseous ligaments is often narrow.
    tip_v, tip_radius, plate, plate_growth, cup
        The ilium: the height of its lower end, how round that is, its thickness beside the
        joint, how that grows with the height, and by what share it is thicker in front.
    foramen_x, foramen_radius, foramen_turn, foramen_aspect
        Sacral foramina: place, size, direction of the longer axis, its ratio to the shorter.
    gluteal_angle, gluteal_streaks
        Direction of the fat striae of gluteus maximus, downwards laterally, and how many.
    """

    width: float
    slope: float
    slope_d: float
    bow: float
    lean: float
    ripple: float
    fine_ripple: float
    apex: tuple[float, float]
    cranial: tuple[float, float]
    caudal: tuple[float, float]
    limb: float
    space: float
    iliac_plate: float
    sacral_plate: float
    opening: float
    sacral_opening: float
    iliac_cleft: float
    sacral_cleft: float
    plate_unevenness: float
    tip_v: float
    tip_radius: float
    plate: float
    plate_growth: float
    cup: float
    fossa_slope: float
    wing_least: float
    ilium_end: float
    cortex: float
    sacrum_top: float
    sacrum_front: float
    sacrum_back: float
    front_curve: float
    taper: float
    foramen_x: float
    foramen_radius: float
    foramen_turn: float
    foramen_aspect: float
    gluteal_angle: float
    gluteal_streaks: float
    canal: tuple[float, float]
    cavity: float
    cavity_fat: float
    streaks: float
    fibre_angle: float
    seam: float
    ligament_fat: float
    skin_depth: float
    skin_fat: float
    tilt: float
    lesions: tuple[tuple[TissueLabel, float, float, float, bool], ...]
    fused: float
    erosions: float
    islands: float
    lane: int

    def surface(self, noise: Noise, d: Grid, v: Grid) -> Grid:
        """How far the joint's midsurface lies from the midline, in mm."""
        near = np.clip(v / 30, -1.6, 1.6)
        smooth = self.width + self.slope * np.clip(v, -45, 45) + self.slope_d * d
        smooth = smooth + self.bow * (near * near - 0.35)
        smooth = smooth + self.lean * np.clip(v, -45, 60) * _step((d - 4) / 22)
        still = np.zeros_like(d)
        rough = self.ripple * noise.at(still, d, v, (9, 14, 11), self.lane)
        fine: Grid = self.fine_ripple * noise.at(still, d, v, (9, 5, 4), self.lane + 1)
        whole: Grid = smooth + rough + fine
        return whole

    def outside(self, noise: Noise, d: Grid, v: Grid) -> Grid:
        """Signed distance to the outline of the auricular surface, negative inside, in mm."""
        cranial = _from_segment(d, v, self.apex, self.cranial)
        caudal = _from_segment(d, v, self.apex, self.caudal)
        edge = 1.5 * noise.at(np.zeros_like(d), d, v, (9, 12, 12), self.lane + 2)
        outline: Grid = np.minimum(cranial, caudal) - self.limb + edge
        return outline


def _from_segment(d: Grid, v: Grid, start: tuple[float, float], end: tuple[float, float]) -> Grid:
    along_d, along_v = end[0] - start[0], end[1] - start[1]
    at = ((d - start[0]) * along_d + (v - start[1]) * along_v) / (along_d**2 + along_v**2)
    at = np.clip(at, 0, 1)
    away: Grid = np.hypot(d - start[0] - at * along_d, v - start[1] - at * along_v)
    return away


@dataclass(frozen=True, eq=False)
class Drawn:
    """Labels at some points, and where the joint is.

    Parameters
    ----------
    labels
        Values of `TissueLabel`.
    across_mm
        Signed distance to the joint's midsurface, positive on the ilium's side.
    outside_mm
        Signed distance to the outline of its cartilage on that surface, negative inside.
    """

    labels: Labels
    across_mm: Grid
    outside_mm: Grid


def tissue_at(half: PelvisHalf, noise: Noise, x: Grid, d: Grid, v: Grid) -> Drawn:
    """The tissue at points of one half of a pelvis, arrays of one shape."""
    steep = 1 / np.sqrt(1 + half.slope**2 + half.slope_d**2)
    outside = half.outside(noise, d, v)
    across = (x - half.surface(noise, d, v)) * steep
    coarse = noise.at(x, d, v, (22, 22, 22), half.lane + 3)
    medium = noise.at(x, d, v, (7, 7, 7), half.lane + 4)
    fine = noise.at(x, d, v, (2.2, 2.2, 2.2), half.lane + 5)
    beyond = np.maximum(outside, 0)
    behind = _step((d + 8 + 0.3 * v) / 14)
    rough = 1 + 0.35 * medium * _step(beyond / 4)
    iliac_gap = half.opening * beyond * (0.45 + 0.55 * behind)
    iliac_gap = half.space / 2 + np.minimum(iliac_gap, half.iliac_cleft) * rough
    sacral_gap = half.sacral_opening * beyond
    sacral_gap = half.space / 2 + np.minimum(sacral_gap, half.sacral_cleft) * rough
    ilium = np.minimum(across - iliac_gap, _ilium_bounds(half, noise, x, d, v, coarse))
    sacrum = np.minimum(-across - sacral_gap, _sacrum_bounds(half, x, d, v, coarse))
    labels = _soft_tissue(half, noise, (x, d, v), (coarse, medium, fine))
    _spine(labels, half, x, d, v, coarse)
    between = (across < iliac_gap) & (across > -sacral_gap) & (outside > 0) & (behind > 0.3)
    between &= (v < 46 + 10 * coarse) & (v > -42 + 6 * coarse)
    labels[between] = _ligaments(half, noise, x, d, v)[between]
    _bones(labels, half, ilium, sacrum, (coarse, medium, fine))
    _openings(labels, half, sacrum, (x, d, v), medium)
    _joint(labels, half, (ilium, sacrum), (across, outside), (coarse, medium, fine))
    _lesions(labels, half, noise, (across, outside), d, v)
    return Drawn(labels, across, outside)


def _ilium_bounds(half: PelvisHalf, noise: Noise, x: Grid, d: Grid, v: Grid, coarse: Grid) -> Grid:
    """Signed distance to the ilium's limits other than its joint's side."""
    ahead, back = np.minimum(d - 5, 0), np.maximum(d - 5, 0)
    tip = half.tip_v + 0.034 * ahead**2 - 0.45 * back + 0.02 * np.maximum(back - 22, 0) ** 2
    to_hip = _step((x - half.width - 6) / 14) * _step((-26 - d) / 14)
    floor = tip - 75 * to_hip
    rise = np.maximum(v - tip, 0)
    rounded = np.sqrt(1 - (1 - np.minimum(rise / half.tip_radius, 1)) ** 2)
    behind = _step((d - 5) / 18)
    thickness = half.plate * rounded + half.plate_growth * rise * (1 - 0.8 * behind)
    thickness = thickness * (1 + half.cup * _step((-6 - d) / 14)) + 1.6 * coarse
    thickness = thickness + 16 * to_hip
    lateral = half.surface(noise, d, np.maximum(v, tip)) + thickness
    top_v = half.cranial[1] + half.limb - 1
    flare = half.fossa_slope * (1 - 0.45 * behind)
    fossa = top_v + (x - half.width - half.slope * top_v) / flare + 2 * coarse
    crest = np.maximum(70 - 2.0 * np.maximum(d - 4, 0), 12) + 4 * coarse
    fossa = np.where(d < 8, fossa, np.maximum(fossa, crest - 20))
    below = np.minimum((v - tip) * 0.9, (v - floor) * 0.9)
    below = np.where(to_hip > 0.2, (v - floor) * 0.9, below)
    thick = np.maximum((lateral - x) * 0.75, half.wing_least - (fossa - v) * 0.85)
    bounds = np.minimum(np.minimum(thick, below), (fossa - v) * 0.85)
    bounds = np.minimum(bounds, np.minimum(crest - v, half.ilium_end + 3 * coarse - d))
    limits: Grid = bounds
    return limits


def _sacrum_bounds(half: PelvisHalf, x: Grid, d: Grid, v: Grid, coarse: Grid) -> Grid:
    side = np.clip(x / 55, 0, 1.2) ** 2
    top = half.sacrum_top - 5 * np.exp(-(((x - 30) / 9) ** 2)) + 3 * coarse - v
    low = np.maximum(half.sacrum_top - 4 - v, 0)
    front = half.sacrum_front + half.front_curve * low**2 * (1 - 0.6 * np.minimum(side, 1))
    front = front + 11 * side + 1.5 * coarse
    back = half.sacrum_back - 5 * side - 0.0035 * np.maximum(v - 5, 0) ** 2 + 3 * coarse
    back = back + 0.35 * np.maximum(-25 - v, 0)
    bottom = half.caudal[1] - half.limb + 2
    apex = half.width + half.slope * bottom - 3 - half.taper * np.maximum(bottom - v, 0) - x
    apex = np.where(v < bottom, apex, 99)
    bounds: Grid = np.minimum(np.minimum(top, apex), np.minimum(d - front, back - d))
    return bounds


def _soft_tissue(
    half: PelvisHalf, noise: Noise, at: tuple[Grid, Grid, Grid], grains: tuple[Grid, Grid, Grid]
) -> Labels:
    x, d, v = at
    coarse, medium, fine = grains
    labels = np.full(x.shape, TissueLabel.MUSCLE, np.uint8)
    along, athwart = _turned(x, v + 4 * coarse, half.fibre_angle)
    streak = noise.at(along, d, athwart, (24, 6, 2.3), half.lane + 6)
    labels[streak + 0.5 * coarse > half.streaks] = TissueLabel.STREAK
    seam = np.abs(noise.at(x, d, v, (30, 30, 26), half.lane + 7))
    labels[seam < half.seam] = TissueLabel.FAT
    _gluteus_maximus(labels, half, noise, at, coarse)
    hollow = half.cavity - 12 * _step((v - 5) / 40) - x + 7 * coarse + 1.5 * medium
    front = half.sacrum_front + half.front_curve * np.maximum(half.sacrum_top - 4 - v, 0) ** 2
    cavity = np.minimum(hollow, front - d + 3)
    inside = cavity > 0
    labels[inside] = TissueLabel.FAT
    organ = noise.at(x, d, v, (19, 19, 17), half.lane + 8)
    kind = noise.at(x, d, v, (30, 30, 30), half.lane + 9)
    filled = inside & (organ > half.cavity_fat)
    labels[filled] = np.select(
        [kind[filled] > 1.0, kind[filled] < -1.3, kind[filled] < -0.6],
        [TissueLabel.FLUID, TissueLabel.GAS, TissueLabel.MUSCLE],
        TissueLabel.ORGAN,
    )
    piriformis = np.hypot((front - d - 9) / 8, np.minimum(x - 30, 0) / 14) + 0.4 * coarse
    labels[inside & (piriformis < 1) & (v < 4 + 9 * coarse)] = TissueLabel.PSOAS
    vessel = noise.at(x, d, v, (9, 9, 30), half.lane + 10)
    deep = (d < -5) | (v < -35)
    labels[(vessel > 2.0) & deep] = TissueLabel.VESSEL
    labels[inside & (medium + 0.4 * fine > 1.9)] = TissueLabel.VESSEL
    fossa = half.cranial[1] + half.limb + (x - half.width) / half.fossa_slope
    above = v - fossa
    psoas = 1 - np.hypot((x - 44) / 17, (v - 64 - 0.5 * d) / 27)
    labels[(above > 0) & (above < 90) & (d < 20)] = TissueLabel.FAT
    iliacus = np.minimum(above + 1, 17 + 4 * coarse - above)
    muscle = (np.maximum(15 * psoas + coarse, iliacus) > 0) & (d < 16) & (above > -1) & (x > 20)
    labels[muscle & (seam > 0.12)] = TissueLabel.PSOAS
    far = v > 88 + 12 * coarse
    labels[far] = np.where(organ > 0, TissueLabel.ORGAN, TissueLabel.FAT)[far]
    _skin(labels, half, x, d, v, (coarse, medium))
    return labels


def _gluteus_maximus(
    labels: Labels, half: PelvisHalf, noise: Noise, at: tuple[Grid, Grid, Grid], coarse: Grid
) -> None:
    """The striated muscle below and behind the ilium, and the fat between it and the others."""
    x, d, v = at
    ahead = np.minimum(d - 5, 0)
    tip = half.tip_v + 0.034 * ahead**2 - 0.45 * np.maximum(d - 5, 0)
    above = (v - tip) - 0.85 * np.maximum(x - half.width, 0) + 4 + 5 * coarse
    along, athwart = _turned(x, v + 3 * coarse, -half.gluteal_angle)
    striae = noise.at(along, d, athwart, (30, 7, 1.5), half.lane + 20)
    within = above < 0
    labels[within] = TissueLabel.MUSCLE
    labels[within & (striae + 0.35 * coarse > half.gluteal_streaks)] = TissueLabel.STREAK
    border = np.abs(above + 1) < np.maximum(1.2 + 1.6 * coarse, 0)
    labels[border] = TissueLabel.FAT


def _turned(x: Grid, v: Grid, angle_rad: float) -> tuple[Grid, Grid]:
    """Places along and across fibres that rise laterally by an angle."""
    cos, sin = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    return cos * x + sin * v, cos * v - sin * x


def _skin(
    labels: Labels, half: PelvisHalf, x: Grid, d: Grid, v: Grid, grains: tuple[Grid, Grid]
) -> None:
    """Subcutaneous fat behind and below, and the air around the body."""
    depth = half.skin_depth - (np.cos(half.tilt) * d - np.sin(half.tilt) * v)
    depth = depth - x**2 / 420 + 3 * grains[0] - 8 * np.exp(-((x / 5) ** 2))
    fat = depth < half.skin_fat + 6 * grains[0]
    labels[fat] = TissueLabel.SKIN_FAT
    labels[fat & (np.abs(grains[1]) < 0.07)] = TissueLabel.LIGAMENT
    labels[(depth < 1.5) & (depth > 0)] = TissueLabel.MUSCLE
    labels[depth <= 0] = TissueLabel.AIR


def _spine(labels: Labels, half: PelvisHalf, x: Grid, d: Grid, v: Grid, coarse: Grid) -> None:
    """The last lumbar vertebrae and their discs, and muscle and processes behind them."""
    above = v - half.sacrum_top - 0.25 * (d + 20)
    column = np.minimum(25 + 2 * coarse - x, 17 - np.abs(d + 20 + 0.25 * (v - 30)))
    storey = np.mod(above, 36)
    within = (column > 0) & (above > 0)
    labels[within & (storey < 8)] = TissueLabel.DISC
    body = np.minimum(np.minimum(column, storey - 8), 36 - storey)
    body = np.where(above > 0, body, -1)
    labels[body > 0] = TissueLabel.CORTEX
    labels[body > 1.0] = TissueLabel.VERTEBRA
    spinous = np.minimum(4 + coarse - x, d - 14) + 0 * v
    labels[(spinous > 0) & (d < 44) & (np.mod(v, 22) < 15)] = TissueLabel.VERTEBRA
    labels[(spinous > 0) & (d < 44) & (spinous < 1.2)] = TissueLabel.CORTEX


def _ligaments(half: PelvisHalf, noise: Noise, x: Grid, d: Grid, v: Grid) -> Labels:
    """Fat and fibres between both bones behind their cartilage."""
    along, athwart = _turned(x, v, half.fibre_angle + 0.5)
    fibre = noise.at(along, d, athwart, (10, 5, 2.2), half.lane + 11)
    dots = noise.at(x, d, v, (2.6, 6, 2.6), half.lane + 12)
    fat = fibre + 0.6 * dots > half.ligament_fat
    mixed = np.where(fat, TissueLabel.LIGAMENT_FAT, TissueLabel.LIGAMENT).astype(np.uint8)
    mixed[dots > 2.0] = TissueLabel.VESSEL
    return mixed


def _bones(
    labels: Labels, half: PelvisHalf, ilium: Grid, sacrum: Grid, grains: tuple[Grid, Grid, Grid]
) -> None:
    coarse, medium, fine = grains
    thick = half.cortex * (1 + 0.35 * coarse)
    island = 0.7 * coarse + medium + 0.2 * fine > half.islands
    for bone, marrow in ((sacrum, TissueLabel.SACRUM), (ilium, TissueLabel.ILIUM)):
        labels[bone > 0] = TissueLabel.CORTEX
        inside = bone > np.maximum(thick, 0.35)
        labels[inside] = marrow
        labels[inside & island] = TissueLabel.MARROW_ISLAND


def _openings(
    labels: Labels, half: PelvisHalf, sacrum: Grid, at: tuple[Grid, Grid, Grid], medium: Grid
) -> None:
    """Foramina, the sacral canal and remnants of discs."""
    x, d, v = at
    within = sacrum > -3
    for level in range(4):
        centre_v = half.sacrum_top - 19 - 18.5 * level
        centre_x = half.foramen_x - 2.6 * level
        size = half.foramen_radius - 0.6 * level
        along, athwart = _turned(
            x - centre_x + 0.12 * d, v - centre_v - 0.25 * (d + 10), half.foramen_turn
        )
        away = np.hypot(along / half.foramen_aspect, athwart) * (1 + 0.35 * medium)
        labels[within & (away < size + 0.6)] = TissueLabel.CORTEX
        labels[within & (away < size)] = TissueLabel.FORAMEN_FAT
        nerve = np.hypot(along + 0.3 * size, athwart + 0.25 * size)
        labels[within & (nerve < 0.5 * size)] = TissueLabel.NERVE
    remnant = np.abs(np.mod(v - half.sacrum_top + 18, 24) - 12)
    flat = (remnant < 1.4) & (x < 11) & (sacrum > 2) & (d < 4)
    labels[flat] = TissueLabel.DISC
    wide, canal_d = half.canal
    narrow = np.clip(1 - 0.012 * (30 - v), 0.25, 1.2)
    canal = 1 - np.hypot(x / (wide * narrow), (d - canal_d + 0.1 * (30 - v)) / 7)
    open_here = v > -50
    labels[(canal > -0.2) & open_here] = TissueLabel.CORTEX
    labels[(canal > 0) & open_here] = TissueLabel.FORAMEN_FAT
    labels[(canal > 0.22) & open_here & (v > -15)] = TissueLabel.CANAL


def _joint(
    labels: Labels,
    half: PelvisHalf,
    bones: tuple[Grid, Grid],
    surface: tuple[Grid, Grid],
    grains: tuple[Grid, Grid, Grid],
) -> None:
    """Cartilage between two plates of cortex, worn and bridged where the joint is ill."""
    ilium, sacrum = bones
    across, outside = surface
    coarse, medium, fine = grains
    near = (outside < 3) & (np.abs(across) < 14)
    uneven = np.clip(1 + half.plate_unevenness * (medium + 0.6 * coarse), 0.1, 3)
    labels[near & (ilium > 0) & (ilium < half.iliac_plate * uneven)] = TissueLabel.CORTEX
    labels[near & (sacrum > 0) & (sacrum < half.sacral_plate * uneven)] = TissueLabel.CORTEX
    labels[(outside < 1) & (np.abs(across) <= half.space / 2)] = TissueLabel.CARTILAGE
    worn = near & (np.abs(across) < 4 + 2 * fine) & (medium + 0.5 * fine > half.erosions)
    labels[worn & (np.abs(across) > half.space / 2)] = TissueLabel.EROSION
    filled = near & (np.abs(across) < 6) & (coarse - 0.6 * medium > half.erosions)
    labels[filled & (np.abs(across) > half.space / 2)] = TissueLabel.BACKFILL
    fused = (outside < 1) & (np.abs(across) < 3.2) & (coarse + 0.5 * medium > half.fused)
    labels[fused] = np.where(across > 0, TissueLabel.ILIUM, TissueLabel.SACRUM)[fused]


def _lesions(
    labels: Labels,
    half: PelvisHalf,
    noise: Noise,
    surface: tuple[Grid, Grid],
    d: Grid,
    v: Grid,
) -> None:
    """Zones of ill marrow along the joint, each on one bone."""
    across, outside = surface
    marrow = np.isin(labels, (TissueLabel.SACRUM, TissueLabel.ILIUM, TissueLabel.MARROW_ISLAND))
    for number, (tissue, depth, share, centre_v, on_ilium) in enumerate(half.lesions):
        here = noise.at(across, d, v, (6, 9, 9), half.lane + 13 + number)
        reach = depth * (0.55 + 0.45 * here) * np.exp(-(((v - centre_v) / (26 * share)) ** 2))
        side = across if on_ilium else -across
        labels[marrow & (side > 0) & (side < reach) & (outside < 10)] = tissue
