"""Slabs of labels: a few neighbouring slices of a simulated pelvis with the joint's true line.

Two kinds serve training: one joint closely, at the contour network's scale, and whole fields of
view coarsely, for the network that finds the joints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contour_tracing import evenly_spaced
from models.joint_delineation import FIELD_MM, FIELD_PX
from models.joint_unet import SQUARE_MM, SQUARE_PX
from trainer.phantom.tissue_labels import Drawn, Labels, Noise, PelvisHalf, TissueLabel, tissue_at

CLOSE_SLICES, CLOSE_PX = 7, SQUARE_PX + 20
"""A margin around the network's square, so that it can be turned and shifted in training."""

SUBSLICES = (-1 / 3, 0.0, 1 / 3)
POINTS = 16
LARGEST_GAP_MM = 20.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelSlab:
    """Slices of labels and what is true of them.

    Parameters
    ----------
    labels
        Values of `TissueLabel`, ``(slices, subslices, size, size)``.
    lines
        The joint's midline as (row, column), superior to inferior, ``(slices, sides, 16, 2)``;
        not a number where none is seen.
    visible_mm
        Length of cartilage that each slice cuts, ``(slices, sides)``.
    distance_mm
        Between slices.
    """

    labels: Labels
    lines: NDArray[np.float32]
    visible_mm: NDArray[np.float32]
    distance_mm: float


@dataclass(frozen=True, eq=False)
class SlabFrame:
    """A square of an image plane.

    Parameters
    ----------
    centre
        In the pelvis, (x, d, v) in mm.
    offset
        How far the square's middle lies from it along rows and columns, in mm.
    """

    centre: Floats
    offset: Floats
    step_mm: float
    size_px: int


@dataclass(frozen=True)
class SlabPose:
    """How the slices lie in the pelvis.

    Parameters
    ----------
    axes
        Directions of slices, rows and columns in (x, d, v), ``(3, 3)``, one a row.
    """

    axes: Floats

    @classmethod
    def sampled(cls, rng: np.random.Generator, tilt_sd: float = 11.0) -> "SlabPose":
        """Tilted about the left-right axis most, turned in the plane less, and yawed least."""
        tilt = np.deg2rad(np.clip(rng.normal(0, tilt_sd), -30, 30))
        turn = np.deg2rad(np.clip(rng.normal(0, 6), -20, 20))
        yaw = np.deg2rad(np.clip(rng.normal(0, 3.5), -10, 10))
        normal, down, across = np.array([0.0, 1, 0]), np.array([0.0, 0, -1]), np.array([1.0, 0, 0])
        axes = np.stack([normal, down, across])
        for angle, (one, other) in ((tilt, (1, 2)), (yaw, (0, 1)), (turn, (0, 2))):
            spin = np.eye(3)
            spin[one, one] = spin[other, other] = np.cos(angle)
            spin[other, one], spin[one, other] = np.sin(angle), -np.sin(angle)
            axes = axes @ spin
        return cls(axes)


def sampled_halves(rng: np.random.Generator) -> tuple[PelvisHalf, PelvisHalf]:
    """Right and left half of one pelvis: alike, but not the same."""
    shared = np.random.default_rng(rng.integers(2**32))
    state = shared.bit_generator.state
    halves = []
    for lane in (0, 50):
        shared.bit_generator.state = state
        halves.append(_half(shared, rng, lane))
    return halves[0], halves[1]


def _half(shared: np.random.Generator, own: np.random.Generator, lane: int) -> PelvisHalf:
    """A half whose numbers come from `shared`, with a little jitter from `own`."""

    def between(low: float, high: float, jitter: float = 0.06) -> float:
        return float(shared.uniform(low, high) + own.normal(0, jitter) * (high - low))

    apex = between(-15, -8), between(0, 9)
    opened, closed = np.deg2rad(between(38, 66)), np.deg2rad(between(36, 62))
    up, down = between(16, 30), between(24, 38)
    limb = between(8.5, 13.5)
    ill = own.random() < 0.6
    return PelvisHalf(
        width=between(47, 62),
        slope=between(0.08, 0.5),
        slope_d=between(-0.5, 0.05),
        bow=between(-3, 5),
        lean=between(0.0, 0.55),
        ripple=between(0.2, 2.6),
        fine_ripple=max(between(-0.2, 0.8), 0.0),
        apex=apex,
        cranial=(apex[0] + up * np.cos(opened), apex[1] + up * np.sin(opened)),
        caudal=(apex[0] + down * np.cos(closed), apex[1] - down * np.sin(closed)),
        limb=limb,
        space=max(between(0.6, 3.0), 0.5),
        iliac_plate=max(between(0.5, 2.6), 0.4),
        sacral_plate=max(between(0.3, 1.8), 0.3),
        opening=float(np.exp(between(*np.log([0.12, 1.2])))),
        sacral_opening=float(np.exp(between(*np.log([0.12, 1.2])))),
        iliac_cleft=float(np.exp(between(*np.log([1.0, 14.0])))),
        sacral_cleft=float(np.exp(between(*np.log([1.0, 14.0])))),
        plate_unevenness=abs(own.normal(0, 0.45)),
        tip_v=apex[1] - down * np.sin(closed) - limb + between(-4, 8),
        **_ilium(between),
        cortex=between(0.5, 2.0),
        sacrum_top=apex[1] + up * np.sin(opened) + limb + between(-6, 5),
        sacrum_front=between(-42, -27),
        sacrum_back=between(20, 46),
        front_curve=between(0.006, 0.015),
        taper=between(0.35, 1.1),
        **_foramina_and_gluteus(between),
        **_soft_tissue(between),
        tilt=np.deg2rad(between(18, 52, 0.0)),
        lesions=_sampled_lesions(own) if ill else (),
        fused=float(own.choice([9.0, own.uniform(0.2, 2.0)], p=[0.85, 0.15])),
        erosions=float(own.uniform(0.9, 2.4)) if ill else 9.0,
        islands=between(1.0, 3.0),
        lane=lane,
    )


def _ilium(between: Callable[..., float]) -> dict[str, Any]:
    """The ilium apart from its joint, in the order in which it is drawn."""
    return {
        "tip_radius": between(8, 20),
        "plate": between(13, 31),
        "plate_growth": between(0.0, 0.3),
        "cup": between(0.0, 0.7),
        "fossa_slope": between(0.8, 2.2),
        "wing_least": between(8, 16),
        "ilium_end": between(28, 48),
    }


def _foramina_and_gluteus(between: Callable[..., float]) -> dict[str, Any]:
    """Sacral foramina and gluteus maximus, in the order in which they are drawn."""
    return {
        "foramen_x": between(18, 27),
        "foramen_radius": between(2.5, 5),
        "foramen_turn": between(-1.2, 0.6),
        "foramen_aspect": between(1.0, 2.8),
        "gluteal_angle": between(0.0, 0.75),
        "gluteal_streaks": between(-0.2, 1.7),
    }


def _soft_tissue(between: Callable[..., float]) -> dict[str, Any]:
    """Canal, cavity, muscle and skin of a half, in the order in which they are drawn."""
    return {
        "canal": (between(8, 15), between(6, 16)),
        "cavity": between(42, 62),
        "cavity_fat": between(-0.2, 1.6),
        "streaks": between(0.6, 2.3),
        "fibre_angle": between(0.1, 1.3),
        "seam": between(0.02, 0.14),
        "ligament_fat": between(-1.0, 0.9),
        "skin_depth": between(62, 110, 0.0),
        "skin_fat": between(8, 50, 0.0),
    }


def _sampled_lesions(
    rng: np.random.Generator,
) -> tuple[tuple[TissueLabel, float, float, float, bool], ...]:
    kinds = [TissueLabel.SCLEROSIS, TissueLabel.OEDEMA, TissueLabel.FATTY_LESION]
    return tuple(
        (
            kinds[int(rng.integers(3))],
            float(rng.uniform(3, 18)),
            float(rng.uniform(0.2, 1.6)),
            float(rng.uniform(-25, 25)),
            bool(rng.random() < 0.6),
        )
        for _ in range(int(rng.integers(1, 5)))
    )


def close_slab(seed: int) -> LabelSlab:
    """Seven slices of one joint at the contour network's scale, around or beside it."""
    rng = np.random.default_rng([seed, 1])
    halves = sampled_halves(rng)
    half, noise = halves[0], Noise(rng)
    pose, size = SlabPose.sampled(rng), float(np.exp(rng.normal(0, 0.11)))
    distance = float(np.clip(rng.normal(3.9, 0.7), 2.5, 6.5))
    first = rng.uniform(-54, 42)
    frame = SlabFrame(
        np.array([half.width + 2, 0.0, 0.0]), rng.normal(0, 7, 2), SQUARE_MM / size, CLOSE_PX
    )
    pieces = [
        _plane(half, noise, pose, frame, first + (n + 0.9 * part) * distance)
        for n in range(CLOSE_SLICES)
        for part in SUBSLICES
    ]
    middle = pieces[1 :: len(SUBSLICES)]
    lines, visible = zip(*(true_line(piece, SQUARE_MM) for piece in middle), strict=True)
    labels = np.stack([piece.labels for piece in pieces])
    return LabelSlab(
        labels.reshape(CLOSE_SLICES, len(SUBSLICES), CLOSE_PX, CLOSE_PX),
        np.stack(lines)[:, None].astype(np.float32),
        np.array(visible, np.float32)[:, None],
        distance * size,
    )


BEYOND_MM = -90.0
"""Distances below this mark points of the other half."""


def _plane(
    half: PelvisHalf, noise: Noise, pose: SlabPose, frame: SlabFrame, depth_mm: float, side: int = 1
) -> Drawn:
    """One plane of one half; `side` is -1 for the half whose x is negative."""
    along = (np.arange(frame.size_px) - (frame.size_px - 1) / 2) * frame.step_mm
    normal, down, across = pose.axes
    start = frame.centre + normal * depth_mm + down * frame.offset[0] + across * frame.offset[1]
    x, d, v = (
        (start[k] + down[k] * along[:, None] + across[k] * along[None, :]).astype(np.float32)
        for k in range(3)
    )
    drawn = tissue_at(half, noise, np.abs(x), d, v)
    across_mm = np.where(side * x < 0, BEYOND_MM - 1, drawn.across_mm)
    return Drawn(drawn.labels, across_mm, drawn.outside_mm)


def true_line(drawn: Drawn, pixel_mm: float) -> tuple[Floats, float]:
    """The joint's midline on a plane whose columns run laterally.

    Returns
    -------
    tuple
        16 points (row, column), not a number where nothing is seen, and the length in mm of
        the cartilage that is cut. An interruption of up to 20 mm is drawn through; beyond that
        the longer part is meant.
    """
    across, size = drawn.across_mm, drawn.across_mm.shape[0]
    rows = np.arange(size)
    turn = np.logical_and(across[:, :-1] < 0, across[:, 1:] >= 0)
    column, crossed = turn.argmax(axis=1), turn.any(axis=1)
    before, after = across[rows, column], across[rows, column + 1]
    exact = column + np.where(crossed, -before / np.where(after > before, after - before, 1), 0)
    inside = crossed & (drawn.outside_mm[rows, column] < 0)
    line = np.stack([rows, exact], axis=1).astype(np.float64)
    first, last, length = _meant_part(line, inside, pixel_mm) or (0, 0, 0.0)
    if last - first < 2:
        return np.full((POINTS, 2), np.nan), length
    whole = line[first:last][np.asarray(crossed)[first:last]]
    return evenly_spaced(whole, POINTS), length


def _meant_part(
    line: Floats, inside: NDArray[np.bool_], pixel_mm: float
) -> tuple[int, int, float] | None:
    """First and last row of the part that is meant, and its cartilage's length in mm."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    if not runs:
        return None
    lengths = [_length_mm(line[first:last], pixel_mm) for first, last in runs]
    joined = [0]
    for one, other in zip(range(len(runs)), range(1, len(runs)), strict=False):
        gap = _length_mm(line[runs[one][1] - 1 : runs[other][0] + 1], pixel_mm)
        joined.append(joined[-1] + (gap > LARGEST_GAP_MM))
    groups = np.array(joined)
    totals = [sum(np.array(lengths)[groups == g]) for g in range(groups[-1] + 1)]
    best = int(np.argmax(totals))
    members = np.flatnonzero(groups == best)
    return runs[members[0]][0], runs[members[-1]][1], float(totals[best])


def _length_mm(points: Floats, pixel_mm: float) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum()) * pixel_mm


def field_slab(seed: int) -> LabelSlab:
    """Three neighbouring slices of a whole field of view, coarsely, with both joints."""
    rng = np.random.default_rng([seed, 2])
    halves, noise = sampled_halves(rng), Noise(rng)
    pose, size = SlabPose.sampled(rng), float(np.exp(rng.normal(0, 0.1)))
    distance = float(np.clip(rng.normal(3.9, 0.7), 2.5, 6.5))
    first = rng.uniform(-44, 36)
    frame = SlabFrame(np.zeros(3), rng.normal(0, 22, 2), FIELD_MM / size, FIELD_PX)
    labels, truth = [], []
    for number in range(-1, 2):
        right, left = (
            _plane(half, noise, pose, frame, first + number * distance, side)
            for half, side in zip(halves, (-1, 1), strict=True)
        )
        labels.append(np.where(left.across_mm > BEYOND_MM, left.labels, right.labels))
        if number == 0:
            truth = [_mirrored_line(right, frame), true_line(left, frame.step_mm)]
    return LabelSlab(
        np.stack(labels)[:, None],
        np.stack([line for line, _ in truth])[None].astype(np.float32),
        np.array([[length * size for _, length in truth]], np.float32),
        distance * size,
    )


def _mirrored_line(right: Drawn, frame: SlabFrame) -> tuple[Floats, float]:
    """The line of the joint on the left of the image, whose columns run medially."""
    flipped = (np.ascontiguousarray(part[:, ::-1]) for part in (right.across_mm, right.outside_mm))
    line, length = true_line(Drawn(right.labels, *flipped), frame.step_mm)
    line[:, 1] = frame.size_px - 1 - line[:, 1]
    return line, length
