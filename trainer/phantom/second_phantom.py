"""A second phantom, drawn by other means than the first; no network is ever trained on it.

What a network scores here tells how much of its learning belongs to the joints and how much to
the first phantom's way of drawing. Nothing is shared with `trainer.phantom` but the tissues'
physics: the cartilage is a polygon, bones are slabs between surfaces, lesions are ellipsoids and
bands, the scanner is a blur with white noise.

The pelvis frame is x to the patient's left, y backwards, z upwards, in millimetres; slices lie
across y.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter

from models.delineation import Contour, Delineation
from models.findings import ILIUM, POSITIONS, Lesion, Position, Region, Side
from models.volume import Volume
from trainer.phantom.tissue import TISSUES, PulseSequence, signal

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

RASTER_MM = 0.25
RASTER_FROM = np.array([-60.0, -70.0])
RASTER_SIZE = (480, 560)
OUTLINE = np.array(
    [
        (-24, 3),
        (-13, 16),
        (2, 29),
        (10, 25),
        (4, 11),
        (-5, 0),
        (2, -14),
        (9, -27),
        (0, -33),
        (-14, -19),
        (-22, -7),
    ],
    float,
)
"""The ear-shaped surface as (y, z), open to the back."""

LONGEST_GAP_MM, LEAST_MM = 20.0, 7.0
SUB_SLICES = 3


@dataclass(frozen=True, eq=False)
class Cartilage:
    """The outline of one joint's surface on a raster over (y, z); negative inside, mm."""

    outside_mm: Array

    def at(self, y: Array, z: Array) -> Array:
        """Signed distance to the outline at each point."""
        index = [
            np.clip(np.rint((value - start) / RASTER_MM), 0, size - 1).astype(int)
            for value, start, size in zip((y, z), RASTER_FROM, RASTER_SIZE, strict=True)
        ]
        return np.asarray(self.outside_mm[index[0], index[1]], np.float32)

    def heights(self, y: float) -> tuple[float, float] | None:
        """Lowest and highest z inside at a depth, or None beside the surface."""
        z = np.arange(-65.0, 65.0, 0.5)
        inside = z[self.at(np.full_like(z, y), z) < 0]
        return (float(inside.min()), float(inside.max())) if len(inside) > 8 else None


@dataclass(frozen=True)
class Spot:
    """An ellipsoid of lesion around a point of the surface: (y, z, depth below the surface)."""

    tissue: str
    bone: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    strength: float


@dataclass(frozen=True, eq=False)
class SecondJoint:
    """One joint: ``side · x = half + slope · z + lean · y + bow · (z / 30)²``."""

    side: Side
    half_mm: float
    slope: float
    lean: float
    bow_mm: float
    space_mm: float
    cortex_mm: float
    cartilage: Cartilage
    spots: tuple[Spot, ...]
    sclerosis_mm: float
    fused: tuple[float, float]

    @property
    def sign(self) -> int:
        """+1 on the patient's left."""
        return 1 if self.side is Side.LEFT else -1

    def surface(self, y: Array, z: Array) -> Array:
        """Distance of the joint's midsurface from the midline."""
        return np.asarray(
            self.half_mm + self.slope * z + self.lean * y + self.bow_mm * (z / 30) ** 2
        )


@dataclass(frozen=True, eq=False)
class SecondCase:
    """What `PhantomCase` tells, from the second phantom; severity is 0 or 1."""

    seed: int
    t1: Volume
    stir: Volume
    t1_truth: Delineation
    stir_truth: Delineation
    severity: dict[Position, int]


def make_second_case(seed: int) -> SecondCase:
    """An invented patient of the second phantom; the same seed always gives the same one."""
    rng = np.random.default_rng([seed, 2])
    severity = {position: int(rng.random() < 0.3) for position in POSITIONS}
    shape = rng.uniform([44, 28, -0.3, -2, 1.4], [58, 42, 0.0, 4, 3.0])
    joints = [_joint(rng, side, shape, severity) for side in Side]
    body = rng.uniform([150, 100, 8, 0.35], [200, 140, 30, 0.62])
    soft = _soft_spots(rng)
    pose = _turn(0, rng.uniform(10, 40)) @ _turn(2, rng.uniform(-6, 6))
    field_t = float(rng.choice([1.5, 3.0]))
    t1 = PulseSequence(field_t, rng.uniform(450, 700), rng.uniform(8, 16))
    inversion = rng.uniform(145, 170) if field_t < 2 else rng.uniform(200, 235)
    stir = PulseSequence(field_t, rng.uniform(3500, 5500), rng.uniform(35, 65), inversion)
    views = [
        _Camera(rng, joints, body, soft, pose).photograph(sequence, noise)
        for sequence, noise in ((t1, rng.uniform(0.02, 0.05)), (stir, rng.uniform(0.03, 0.1)))
    ]
    return SecondCase(seed, views[0][0], views[1][0], views[0][1], views[1][1], severity)


def _joint(
    rng: np.random.Generator, side: Side, shape: Array, severity: dict[Position, int]
) -> SecondJoint:
    superior, inferior, lean, bow, space = shape + rng.normal(0, [1, 1, 0.03, 0.5, 0.15])
    outline = OUTLINE * rng.uniform(0.9, 1.12, 2) + rng.normal(0, 1, OUTLINE.shape)
    cartilage = Cartilage(_outside(outline))
    mine = {p.head: present for p, present in severity.items() if p.side is side}
    spots = [
        spot
        for head, present in mine.items()
        if present and head.region is not Region.JOINT
        for spot in _spots(rng, cartilage, head.lesion, head.region)
    ]
    joint_wide = {head.lesion: present for head, present in mine.items()}
    fused = (0.0, 0.0)
    if joint_wide[Lesion.ANKYLOSIS]:
        low = float(rng.uniform(-30, 0))
        fused = (low, low + float(rng.uniform(18, 40)))
    return SecondJoint(
        side,
        float(superior + inferior) / 2,
        float(superior - inferior) / 55,
        float(lean),
        float(bow),
        float(max(space, 1.2)),
        float(rng.uniform(0.6, 1.4)),
        cartilage,
        tuple(spots),
        float(rng.uniform(4, 9)) if joint_wide[Lesion.SCLEROSIS] else 0.0,
        fused,
    )


def _outside(outline: Array) -> Array:
    picture = Image.new("1", RASTER_SIZE[::-1])
    at = (outline - RASTER_FROM) / RASTER_MM
    ImageDraw.Draw(picture).polygon([(z, y) for y, z in at], fill=1)
    inside = np.asarray(picture, bool)
    return np.asarray(
        (distance_transform_edt(~inside) - distance_transform_edt(inside)) * RASTER_MM
    )


def _spots(
    rng: np.random.Generator, cartilage: Cartilage, lesion: Lesion, region: Region
) -> list[Spot]:
    bone = 1 if region in ILIUM else -1
    upper = region in (Region.UPPER_ILIUM, Region.UPPER_SACRUM)
    count = int(rng.integers(2, 5)) if lesion is Lesion.EROSION else int(rng.integers(1, 3))
    found: list[Spot] = []
    while len(found) < count:
        y = float(rng.uniform(-20, 6))
        heights = cartilage.heights(y)
        if heights is None:
            continue
        reach = (heights[1] - heights[0]) / 2
        away = float(rng.uniform(0.35, 0.75)) * reach
        z = sum(heights) / 2 + (away if upper else -away)
        found.append(_spot(rng, lesion, bone, (y, z), away))
    return found


def _spot(
    rng: np.random.Generator, lesion: Lesion, bone: int, at: tuple[float, float], away: float
) -> Spot:
    if lesion is Lesion.EROSION:
        tissue = str(rng.choice(["inflamed erosion", "fluid", "cartilage", "fatty lesion"]))
        wide = rng.uniform(1.8, 3.2, 3)
        return Spot(tissue, bone, (*at, 0.5), (wide[0] + 1.5, wide[1], wide[2] + 0.5), 1.0)
    radii = (rng.uniform(6, 12), min(away, rng.uniform(5, 11)), rng.uniform(5, 11))
    centre = (*at, float(rng.uniform(0, 5)))
    return Spot(str(lesion), bone, centre, radii, float(rng.uniform(0.5, 1)))


def _soft_spots(rng: np.random.Generator) -> list[tuple[str, Array, Array]]:
    """Bowel, gas and vessels before the sacrum: tissue, centre and radii."""
    return [
        (
            str(rng.choice(["bowel", "gas", "fluid", "vessel", "muscle"])),
            rng.uniform([-55, -95, -70], [55, -42, 60]),
            rng.uniform(6, 22, 3),
        )
        for _ in range(int(rng.integers(5, 20)))
    ]


def _turn(axis: int, degrees: float) -> Array:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (k for k in range(3) if k != axis)
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = cos
    turn[first, second], turn[second, first] = -sin, sin
    return turn


class _Camera:
    """One series of one patient: where its slices lie, what is there, what is measured."""

    def __init__(
        self,
        rng: np.random.Generator,
        joints: list[SecondJoint],
        body: Array,
        soft: list[tuple[str, Array, Array]],
        pose: Array,
    ) -> None:
        self._rng, self._joints, self._body, self._soft, self._pose = rng, joints, body, soft, pose
        self._slices = int(rng.integers(14, 24))
        self._matrix = int(rng.choice([224, 256, 320]))
        self._pixel_mm = float(rng.uniform(200, 340)) / self._matrix
        self._thick_mm = float(rng.uniform(3, 4.5))
        tilt = _turn(0, rng.uniform(-8, 8)) @ _turn(1, rng.uniform(-5, 5))
        self._axes = tilt @ np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])
        self._step_mm = self._thick_mm * float(rng.uniform(1, 1.2))
        self._centre = rng.uniform([-8, -8, -12], [8, 4, 12])
        self._clouds = gaussian_filter(rng.normal(size=(48, 48, 48)), 1.5) * 8

    def photograph(self, sequence: PulseSequence, noise: float) -> tuple[Volume, Delineation]:
        """The series and the contours on it."""
        shine = {name: signal(tissue, sequence) for name, tissue in TISSUES.items()}
        offsets = (np.arange(self._slices) - (self._slices - 1) / 2) * self._step_mm
        parts = (np.arange(SUB_SLICES) - (SUB_SLICES - 1) / 2) / SUB_SLICES * self._thick_mm
        images, contours = [], []
        for index, offset in enumerate(offsets):
            painted = [self._painted(self._points(offset + part), shine) for part in parts]
            images.append(np.abs(np.mean(painted, axis=0)))
            contours += self._contours(index, self._points(offset))
        voxels = self._measured(np.stack(images), noise)
        return Volume(voxels.astype(np.float32), self._affine()), Delineation(tuple(contours))

    def _points(self, offset_mm: float) -> Array:
        """Pelvis coordinates of every pixel, ``(3, rows, columns)``."""
        along = (np.arange(self._matrix) - (self._matrix - 1) / 2) * self._pixel_mm
        plane = np.stack(
            [np.full((self._matrix,) * 2, offset_mm), *np.meshgrid(along, along, indexing="ij")]
        )
        at = np.tensordot(self._axes, plane, 1) + self._centre[:, None, None]
        return np.asarray(at, np.float32)

    def _affine(self) -> NDArray[np.float64]:
        steps = self._axes * [self._step_mm, self._pixel_mm, self._pixel_mm]
        middle = (np.array([self._slices, self._matrix, self._matrix]) - 1) / 2
        affine = np.eye(4)
        affine[:3, :3] = self._pose @ steps
        affine[:3, 3] = self._pose @ (self._centre - steps @ middle)
        return affine

    def _cloud(self, at: Array) -> Array:
        index = np.clip((at / 6 + 24).astype(int), 0, 47)
        return np.asarray(self._clouds[index[0], index[1], index[2]])

    def _painted(self, at: Array, shine: dict[str, float]) -> Array:
        x, y, z = at
        wide, deep, rim, fattiness = self._body
        image: Array = np.full(x.shape, shine["muscle"]) * (1 + 0.1 * self._cloud(at))
        belly = (np.abs(x) < 60) & (y < -32)
        image[belly] = shine["fat"] * 0.8
        for tissue, centre, radii in self._soft:
            offset = (at - centre[:, None, None]) / radii[:, None, None]
            image[(offset**2).sum(axis=0) < 1] = shine[tissue]
        red, yellow = shine["red marrow"], shine["yellow marrow"]
        marrow = red + (yellow - red) * np.clip(fattiness + 0.25 * self._cloud(at), 0, 1)
        for joint in self._joints:
            columns = np.flatnonzero((x * joint.sign > 0).any(axis=0))
            piece = (slice(None), slice(int(columns[0]), int(columns[-1]) + 1))
            half = x[piece] * joint.sign > 0
            within = (slice(None), *piece)
            drawn = self._half(image[piece], marrow[piece], joint, at[within], shine)
            image[piece] = np.where(half, drawn, image[piece])
        canal = (x / 9) ** 2 + ((y - 13) / 6) ** 2 < 1
        image[canal & (z > -30) & (z < 60)] = shine["fluid"]
        radius = np.sqrt((x / wide) ** 2 + ((y + 20) / deep) ** 2)
        image[radius > 1 - rim / wide] = shine["fat"]
        image[radius > 1] = 0
        return image

    def _half(
        self, image: Array, marrow: Array, joint: SecondJoint, at: Array, shine: dict[str, float]
    ) -> Array:
        x, y, z = at
        image = image.copy()
        steep = 1 / np.sqrt(1 + joint.slope**2 + joint.lean**2)
        across = (joint.sign * x - joint.surface(y, z)) * steep
        outside = joint.cartilage.at(y, z)
        gap = joint.space_mm / 2 + np.clip(0.45 * outside, 0, 9)
        ilium = np.minimum.reduce(
            [across - gap, gap + 20 - 0.06 * z - across, y + 42, 32 - y, z + 44 - 0.4 * np.abs(y)]
        )
        sacrum = np.minimum.reduce(
            [-gap - across, y + 30 + 0.08 * z, 27 - y, 34 - z, z + 75 + 0 * across]
        )
        lit = self._ill(marrow, joint, across, gap, at, shine)
        between = (np.abs(across) < gap + 1) & (np.abs(z) < 60) & (y > -25)
        image[between] = shine["ligament"]
        for bone in (ilium, sacrum):
            image[bone > 0] = shine["cortex"]
            inner = bone > joint.cortex_mm
            image[inner] = lit[inner]
        inside = (outside < 0) & (np.abs(across) < joint.space_mm / 2)
        image[inside] = shine["cartilage"]
        for spot in joint.spots:
            if spot.radii[2] < 4:  # an erosion breaks through the cortex
                pit = _within(spot, across, gap, y, z) & (outside < 1)
                image[pit] = shine[spot.tissue]
        low, high = joint.fused
        bridge = (outside < 0) & (z > low) & (z < high)
        bridge &= np.abs(across) < joint.space_mm / 2 + joint.cortex_mm + self._pixel_mm
        image[bridge] = lit[bridge]
        return image

    def _ill(
        self,
        marrow: Array,
        joint: SecondJoint,
        across: Array,
        gap: Array,
        at: Array,
        shine: dict[str, float],
    ) -> Array:
        lit = marrow.copy()
        for spot in joint.spots:
            if spot.radii[2] >= 4:
                there = _within(spot, across, gap, at[1], at[2])
                lit[there] += spot.strength * (shine[spot.tissue] - lit[there])
        hard = (across > 0) & (across - gap < joint.sclerosis_mm)
        hard &= joint.cartilage.at(at[1], at[2]) < 0
        lit[hard] = shine["sclerosis"]
        return lit

    def _measured(self, images: Array, noise: float) -> Array:
        rng = self._rng
        blurred = gaussian_filter(images, (0, rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.8)))
        bright = np.quantile(blurred, 0.95)
        grains = rng.normal(0, noise * bright, (2, *blurred.shape))
        line = np.linspace(-1, 1, self._matrix)
        lean = rng.uniform(-0.3, 0.3, 2)
        coil = np.exp(lean[0] * line[:, None] + lean[1] * line[None, :])
        return np.asarray(np.rint(np.hypot(blurred * coil + grains[0], grains[1]) / bright * 600))

    def _contours(self, index: int, at: Array) -> list[Contour]:
        found = []
        for joint in self._joints:
            line = _midline(joint, at)
            if line is not None:
                found.append(Contour(index, joint.side, line, 1.0))
        return found


def _within(spot: Spot, across: Array, gap: Array, y: Array, z: Array) -> Mask:
    depth = spot.bone * across - gap
    (cy, cz, cd), (ry, rz, rd) = spot.centre, spot.radii
    ball = ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 + ((depth - cd) / rd) ** 2 < 1
    return np.asarray(ball & (depth > -1.0))


def _midline(joint: SecondJoint, at: Array) -> NDArray[np.float64] | None:
    """Row and column where each row crosses the midsurface, as far as the joint is meant."""
    beyond = joint.sign * at[0] - joint.surface(at[1], at[2]) > 0
    crosses = beyond[:, 1:] != beyond[:, :-1]
    rows = np.flatnonzero(crosses.sum(axis=1) == 1)
    columns = crosses[rows].argmax(axis=1)
    value = joint.sign * at[0] - joint.surface(at[1], at[2])
    before, after = value[rows, columns], value[rows, columns + 1]
    share = before / (before - after)
    points = np.stack([rows, columns + share], axis=1).astype(np.float64)
    place = at[:, rows, columns] * (1 - share) + at[:, rows, columns + 1] * share
    return _meant(points, joint.cartilage.at(place[1], place[2]) < 0, place.T)


def _meant(
    points: NDArray[np.float64], inside: Mask, place_mm: Array
) -> NDArray[np.float64] | None:
    """Through gaps of up to 20 mm, else the longest part; None below 7 mm of cartilage."""
    edges = np.flatnonzero(np.diff(np.r_[0, inside.astype(int), 0]))
    runs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]
    if not runs:
        return None
    run = np.r_[0, np.cumsum(np.linalg.norm(np.diff(place_mm, axis=0), axis=1))]
    lengths = [run[b - 1] - run[a] for a, b in runs]
    first, last = runs[0][0], runs[-1][1]
    gaps = [run[after[0]] - run[before[1] - 1] for before, after in pairwise(runs)]
    if any(gap > LONGEST_GAP_MM for gap in gaps):
        first, last = runs[int(np.argmax(lengths))]
        lengths = [max(lengths)]
    return points[first:last] if sum(lengths) >= LEAST_MM else None
