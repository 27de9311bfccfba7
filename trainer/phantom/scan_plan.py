"""The scan plan: slice positions, patient pose and artefacts.

A plausible plan is one a radiographer would make; a free one goes far beyond that.
"""

from dataclasses import dataclass, replace
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from trainer.phantom.anatomy import Pelvis
from trainer.phantom.scanner import Flaws, Pose, Slab, painted_size

MATRICES = (256, 288, 320, 320, 384, 384, 448, 512)
FREE_MATRICES = (160, 192, 224, 256, 256, 288, 320, 320, 352, 384, 384, 448, 512, 576, 640)


@dataclass(frozen=True, eq=False)
class PatientPose:
    """The slices of a sequence, and the patient's pose during it."""

    slab: Slab
    pose: Pose


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """Both sequences' slices and the patient's pose in each."""

    t1: PatientPose
    stir: PatientPose
    shift_mm: NDArray[np.float64]

    @property
    def views(self) -> dict[str, PatientPose]:
        """By name of the sequence."""
        return {"t1": self.t1, "stir": self.stir}


def turn(x_rad: float, y_rad: float, z_rad: float) -> NDArray[np.float64]:
    """Rotation about the patient's x, then y, then z axis."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (x_rad, y_rad, z_rad) for f in (cos, sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def coronal_axes(tilt_rad: float) -> NDArray[np.float64]:
    """Unit vectors along (slice, row, column) of a coronal slab tilted forwards at the top."""
    back = np.array([0, cos(tilt_rad), sin(tilt_rad)])
    down = np.array([0, sin(tilt_rad), -cos(tilt_rad)])
    return np.stack([back, down, np.array([1.0, 0, 0])], axis=1)


def _upright(pelvis: Pelvis) -> NDArray[np.float64]:
    """Rotation of the pelvis frame to LPS for a straight patient."""
    axes = coronal_axes(pelvis.sacral_tilt_rad)
    return np.stack([axes[:, 2], axes[:, 0], -axes[:, 1]], axis=1)


def plausible_plan(
    rng: np.random.Generator, pelvis: Pelvis, slices: int | None, matrix: int | None
) -> ScanPlan:
    """Slices along the sacrum as a radiographer plans them; None samples a parameter."""
    lying = turn(*(radians(rng.normal(0, s)) for s in (0.5, 2.0, 2.0)))
    pose = Pose(lying @ _upright(pelvis), rng.normal(0, [12, 25, 40]))
    off = -rng.uniform(10, 22) if rng.random() < 0.12 else rng.normal(0, 4)
    planned = float(np.clip(pelvis.sacral_tilt_rad + radians(off), 0, radians(40)))
    axes = turn(0, radians(rng.normal(0, 2)), radians(rng.normal(0, 2))) @ coronal_axes(planned)
    slices = slices or int(rng.integers(15, 25))
    thickness = float(rng.uniform(3, 5))
    distance = thickness * float(rng.choice([1.0, 1.1, 1.2], p=[0.35, 0.5, 0.15]))
    fov = float(np.round(rng.uniform(220, 300)))
    slabs = []
    aim = pose.to_patient(np.array([0.0, rng.normal(2, 3), rng.normal(-5, 8)]))
    for _ in range(2):
        size = matrix or int(rng.choice(MATRICES))
        centre = aim + axes @ rng.normal(0, [2.0, 6, 5])
        slabs.append(Slab(axes, centre, slices, thickness, distance, fov, size))
    if rng.random() < 0.7:
        slabs[1] = replace(slabs[1], centre_mm=slabs[0].centre_mm)
    way = rng.normal(size=3)
    shift = way / np.linalg.norm(way) * abs(rng.uniform(0, 3)) * (rng.random() < 0.8)
    moved = Pose(pose.rotation, pose.origin_mm + shift)
    return ScanPlan(PatientPose(slabs[0], pose), PatientPose(slabs[1], moved), shift)


def free_plan(
    rng: np.random.Generator, pelvis: Pelvis, slices: int | None, matrix: int | None
) -> ScanPlan:
    """Slices tilted 10 degrees backwards to 45 forwards, through a rotated patient."""
    askew = float(rng.choice([2, 6, 15], p=[0.4, 0.3, 0.3]))
    lying = turn(*(radians(rng.uniform(-askew, askew) * part) for part in (0.4, 1, 1)))
    pose = Pose(lying @ _upright(pelvis), rng.normal(0, [12, 25, 40]))
    axes = coronal_axes(_free_tilt(rng, pelvis))
    slices = slices or _free_slices(rng)
    thickness = float(rng.uniform(2, 6))
    distance = thickness * float(1 + rng.choice([0, 0.1, rng.uniform(0, 0.5)]))
    fov = float(rng.uniform(160, 420)) if rng.random() < 0.6 else float(rng.uniform(200, 320))
    aim = pose.to_patient(np.array([0.0, rng.normal(2, 8), rng.normal(-3, 8)]))
    off = np.clip(rng.normal(0, 0.09 * fov, 2), -0.2 * fov, 0.2 * fov)
    centre = aim + axes @ np.array([0.0, *off])
    shape = _cropped_share(rng)
    slabs = []
    for _ in range(2):
        size = matrix or int(rng.choice(FREE_MATRICES))
        slabs.append(Slab(axes, centre, slices, thickness, distance, fov, size, _kept(size, shape)))
    if rng.random() < 0.3:
        nudged = centre + axes @ rng.normal(0, [2.0, 6, 5])
        slabs[1] = replace(slabs[1], centre_mm=nudged)
    way = rng.normal(size=3)
    far = rng.uniform(3, 6) if rng.random() < 0.1 else rng.uniform(0, 3)
    shift = way / np.linalg.norm(way) * far
    rolled = turn(*(radians(rng.normal(0, 1)) for _ in range(3)))
    moved = Pose(rolled @ pose.rotation, pose.origin_mm + shift)
    return ScanPlan(PatientPose(slabs[0], pose), PatientPose(slabs[1], moved), shift)


def _free_tilt(rng: np.random.Generator, pelvis: Pelvis) -> float:
    """Mostly along the sacrum, else anywhere; never so steep that slices miss the joints."""
    own = pelvis.sacral_tilt_rad
    if rng.random() < 0.55:
        return float(own + radians(rng.normal(0, 7)))
    return float(np.clip(radians(rng.uniform(-10, 45)), own - radians(40), own + radians(30)))


def _free_slices(rng: np.random.Generator) -> int:
    return int(rng.integers(15, 25) if rng.random() < 0.75 else rng.integers(10, 41))


def _cropped_share(rng: np.random.Generator) -> tuple[float, float]:
    """Shares of rows and columns to keep; most images are square."""
    if rng.random() < 0.75:
        return (1.0, 1.0)
    share = float(rng.uniform(0.65, 1))
    return (share, 1.0) if rng.random() < 0.6 else (1.0, share)


def _kept(size: int, share: tuple[float, float]) -> tuple[int, int]:
    rows, columns = (size - 2 * round((1 - part) * size / 2) for part in share)
    return rows, columns


def plausible_flaws(rng: np.random.Generator, name: str, slab: Slab) -> Flaws:
    """Artefacts of an ordinary examination."""
    snr = rng.uniform(16, 45) if name == "t1" else rng.uniform(8, 24)
    size = painted_size(slab.field_of_view_mm)
    measured = (int(size * rng.uniform(0.68, 1.0)), int(size * rng.uniform(0.8, 1.0)))
    strength = rng.uniform(0.05, 0.4)
    bias = tuple(float(b) for b in strength * rng.normal(0, 0.5, 6))
    ghost = float(rng.uniform(0.005, 0.03)) if rng.random() < 0.25 else 0.0
    return Flaws(
        measured,
        float(1 / snr),
        bias,
        float(rng.uniform(0, 0.9)),
        float(rng.uniform(0, 0.7)),
        ghost,
        float(rng.uniform(0.2, 0.8)),
        float(rng.uniform(600, 3200)),
    )


def with_fat_shift(rng: np.random.Generator, flaws: Flaws) -> Flaws:
    """The same flaws with a chemical shift of up to 2 pixels."""
    return replace(
        flaws,
        phase_rows=bool(rng.random() < 0.6),
        chemical_shift_px=float(rng.uniform(-2, 2)),
        ghost_copies=int(rng.integers(1, 4)),
    )


def step_mm(slab: Slab) -> float:
    """Distance between painted points of a free plan, finer for a small field of view."""
    return float(np.clip(slab.field_of_view_mm / 280, 0.6, 1.4))


def free_flaws(rng: np.random.Generator, name: str, slab: Slab) -> Flaws:
    """Noise, blur, bias, ghosts and stripes, from none to beyond diagnostic quality."""
    calm = rng.random() < 0.3
    snr = np.exp(rng.uniform(np.log(5 if name == "stir" else 8), np.log(60)))
    size = painted_size(slab.field_of_view_mm, step_mm(slab))
    measured = (int(size * rng.uniform(0.4, 1.0)), int(size * rng.uniform(0.5, 1.0)))
    bias = rng.uniform(0, 0.8) * rng.normal(0, 0.5, 6)
    deep = int(rng.choice([8, 10, 12, 12, 12, 15]))
    most = 2**deep - 1
    rare = rng.random(4) < (0.25, 0.06, 0.06, 0.06)
    return Flaws(
        measured=measured,
        noise=0.0 if calm and rng.random() < 0.4 else float(1 / snr),
        bias=tuple(float(b) for b in bias),
        echo_blur=float(rng.uniform(0, 1.2)),
        apodisation=float(rng.uniform(0, 0.9)),
        ghost=float(rng.uniform(0.01, 0.12)) if rare[0] and not calm else 0.0,
        ghost_shift=float(rng.uniform(0.05, 0.8)),
        full_scale=float(most * rng.uniform(0.25, 0.95)),
        phase_rows=bool(rng.random() < 0.5),
        ghost_copies=int(rng.integers(1, 5)),
        chemical_shift_px=float(rng.uniform(-3, 3)),
        blur=float(rng.uniform(0, 3)) if rng.random() < 0.4 else 0.0,
        spike=float(rng.uniform(0.03, 0.15)) if rare[1] else 0.0,
        spike_at=(float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8))),
        zipper=float(rng.uniform(0.5, 3)) if rare[2] else 0.0,
        zipper_at=float(rng.uniform(0.02, 0.98)),
        wrap=float(rng.uniform(0.2, 0.8)) if rare[3] else 0.0,
        most=most,
    )
