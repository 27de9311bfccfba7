"""One invented patient: a T1 and a STIR volume, both delineations, and 28 true severities.

Everything follows from a seed.  Left is the patient's left, which is +x in LPS.
"""

from dataclasses import asdict, dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from models.delineation import Delineation
from models.findings import POSITIONS, Position, Side
from models.volume import Volume
from trainer.phantom.anatomy import Joint, Pelvis, sample_pelvis
from trainer.phantom.lesions import (
    D_MM,
    V_MM,
    JointLesions,
    Quadrants,
    place_lesions,
    sample_severity,
)
from trainer.phantom.paint import Painter
from trainer.phantom.scanner import (
    Flaws,
    Pose,
    Slab,
    acquire,
    painted_size,
    sample_texture,
    trace,
    visible_line,
)
from trainer.phantom.tissue import TISSUES, Sequence, signal

MATRICES = (256, 288, 320, 320, 384, 384, 448, 512)


@dataclass(frozen=True)
class PhantomOptions:
    """What to keep fixed.

    Parameters
    ----------
    slices
        Slices per sequence; None draws 15 to 24.
    matrix
        Rows and columns; None draws one for each sequence.
    disease
        "early", "mixed" or "advanced".
    without_joints
        True gives soft tissue without a pelvis: no contour, every severity 0.
    pelvis_seed
        Of the patient's shape, which his visits share; None draws it from the case's seed.
    severity
        Berlin grades in the order of POSITIONS; None draws them.
    """

    slices: int | None = None
    matrix: int | None = None
    disease: str = "mixed"
    without_joints: bool = False
    pelvis_seed: int | None = None
    severity: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """Where a sequence's slices lay, and how the patient lay meanwhile."""

    slab: Slab
    pose: Pose


@dataclass(frozen=True, eq=False)
class Patient:
    """What is there before any image is made of it.

    Parameters
    ----------
    lesions
        Of both joints, as they were painted.
    quadrants
        The halves of both joints' surfaces that the lesions were drawn in.
    t1, stir
        How each sequence saw him.
    """

    pelvis: Pelvis
    lesions: dict[Side, JointLesions]
    quadrants: dict[Side, Quadrants]
    t1: View
    stir: View


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A patient and what is true of him; contour points are pixels of their own volume."""

    seed: int
    t1: Volume
    stir: Volume
    t1_truth: Delineation
    stir_truth: Delineation
    severity: dict[Position, int]
    parameters: dict[str, object]
    patient: Patient


def make_case(seed: int, options: PhantomOptions = PhantomOptions()) -> PhantomCase:
    """An invented patient; the same seed and options always give the same one.

    Raises
    ------
    ValueError
        If an option is not among those known.
    """
    rng = np.random.default_rng(seed)
    severity = sample_severity(rng, options.disease)
    if options.severity is not None:
        severity = dict(zip(POSITIONS, options.severity, strict=True))
    if options.without_joints:
        severity = dict.fromkeys(severity, 0)
    shape = options.pelvis_seed
    pelvis = sample_pelvis(rng if shape is None else np.random.default_rng(shape))
    t1_slab, stir_slab, pose, shift = _geometry(rng, pelvis, options)
    quadrants = {side: quadrants_on(joint, t1_slab, pose) for side, joint in pelvis.joints.items()}
    lesions = {
        side: place_lesions(rng, joint, quadrants[side], severity)
        for side, joint in pelvis.joints.items()
    }
    texture = sample_texture(rng)
    moved = Pose(pose.rotation, pose.origin_mm + shift)
    views = {"t1": View(t1_slab, pose), "stir": View(stir_slab, moved)}
    patient = Patient(pelvis, lesions, quadrants, **views)
    field_t = float(rng.choice([1.5, 3.0]))
    seen: dict[str, tuple[Volume, Delineation]] = {}
    parameters: dict[str, object] = {"disease": options.disease, "pelvis": _plain(pelvis)}
    joints = {} if options.without_joints else pelvis.joints
    for name, view in views.items():
        slab, at = view.slab, view.pose
        sequence = sample_sequence(rng, name, field_t)
        flaws = _flaws(rng, name, slab)
        shine = _shine(rng, sequence, pelvis.marrow_dimming)
        edge_mm = slab.field_of_view_mm / painted_size(slab.field_of_view_mm) * 1.1
        painter = Painter(pelvis, lesions, shine, edge_mm, not options.without_joints)
        volume = acquire(
            painter, slab, at, texture, flaws=flaws, noise_seed=int(rng.integers(2**32))
        )
        seen[name] = (volume, trace(joints, slab, at))
        parameters[name] = _plain(sequence) | _plain(slab) | {"flaws": _plain(flaws)}
    parameters["shift_mm"] = [float(s) for s in shift]
    return PhantomCase(seed, seen["t1"][0], seen["stir"][0], seen["t1"][1], seen["stir"][1],
                       severity, parameters, patient)  # fmt: skip


def sample_sequence(rng: np.random.Generator, name: str, field_t: float) -> Sequence:
    """Times of a T1 or a STIR protocol within what scanners are set to."""
    if name == "t1":
        return Sequence(field_t, float(rng.uniform(420, 780)), float(rng.uniform(7, 20)))
    inversion = rng.uniform(140, 185) if field_t < 2 else rng.uniform(180, 245)
    return Sequence(
        field_t,
        float(rng.uniform(3000, 6200)),
        float(rng.uniform(28, 68)),
        float(inversion),
        float(rng.uniform(60, 140)),
    )


def _shine(rng: np.random.Generator, sequence: Sequence, dimming: float) -> dict[str, float]:
    """Signals of all tissues, jittered; marrow and its lesions drift together.

    Trabeculae dephase marrow more on some scanners: `dimming` darkens it on STIR.
    """
    drift = rng.normal(0, 0.05)
    marrow_like = {"marrow", "red marrow", "yellow marrow", "fatty lesion", "oedema"}
    shine = {
        name: signal(tissue, sequence)
        * float(np.exp(rng.normal(0, 0.05) + (drift if name in marrow_like else 0)))
        for name, tissue in TISSUES.items()
    }
    if sequence.inversion_ms is not None:
        for name in ("marrow", "red marrow", "yellow marrow", "fatty lesion"):
            shine[name] *= dimming
    return shine


def _flaws(rng: np.random.Generator, name: str, slab: Slab) -> Flaws:
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


def _turn(x_rad: float, y_rad: float, z_rad: float) -> NDArray[np.float64]:
    """Rotation about x, then y, then z of the patient."""
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


def _geometry(
    rng: np.random.Generator, pelvis: Pelvis, options: PhantomOptions
) -> tuple[Slab, Slab, Pose, NDArray[np.float64]]:
    """Both slabs, the patient's pose, and how far he moved before the STIR."""
    tilt = pelvis.sacral_tilt_rad
    upright = coronal_axes(tilt)
    frame = np.stack([upright[:, 2], upright[:, 0], -upright[:, 1]], axis=1)
    lying = _turn(*(radians(rng.normal(0, s)) for s in (0.5, 2.0, 2.0)))
    pose = Pose(lying @ frame, rng.normal(0, [12, 25, 40]))
    off = -rng.uniform(10, 22) if rng.random() < 0.12 else rng.normal(0, 4)
    planned = float(np.clip(tilt + radians(off), 0, radians(40)))
    axes = _turn(0, radians(rng.normal(0, 2)), radians(rng.normal(0, 2))) @ coronal_axes(planned)
    slices = options.slices or int(rng.integers(15, 25))
    thickness = float(rng.uniform(3, 5))
    distance = thickness * float(rng.choice([1.0, 1.1, 1.2], p=[0.35, 0.5, 0.15]))
    fov = float(np.round(rng.uniform(220, 300)))
    slabs = []
    aim = pose.to_patient(np.array([0.0, rng.normal(2, 3), rng.normal(-5, 8)]))
    for _ in range(2):
        matrix = options.matrix or int(rng.choice(MATRICES))
        centre = aim + axes @ rng.normal(0, [2.0, 6, 5])
        slabs.append(Slab(axes, centre, slices, thickness, distance, fov, matrix))
    same = rng.random() < 0.7
    if same:
        slabs[1] = Slab(axes, slabs[0].centre_mm, slices, thickness, distance, fov, slabs[1].matrix)
    way = rng.normal(size=3)
    shift = way / np.linalg.norm(way) * abs(rng.uniform(0, 3)) * (rng.random() < 0.8)
    return slabs[0], slabs[1], pose, shift


def quadrants_on(joint: Joint, slab: Slab, pose: Pose) -> Quadrants:
    """Upper and lower half of a joint's surface, split at half the height each slice shows."""
    d, v = np.meshgrid(D_MM.astype(np.float64), V_MM.astype(np.float64), indexing="ij")
    x = joint.sign * joint.distance_from_midline(d, v)
    at = (pose.to_patient(np.stack([x, d, v], -1)) - slab.centre_mm) @ slab.axes
    depth, down = at[..., 0], at[..., 1]
    offsets, splits, tops, bottoms = [], [], [], []
    for offset in np.arange(-60, 60.1, 2.5):
        line = visible_line(joint, slab, pose, float(offset))
        if len(line):
            rows = (line - slab.centre_mm) @ slab.axes[:, 1]
            offsets.append(offset)
            splits.append((rows.min() + rows.max()) / 2)
            tops.append(rows.min())
            bottoms.append(rows.max())
    if not offsets:
        nothing = np.zeros(d.shape, bool)
        return Quadrants(nothing, nothing)
    seen = (depth > offsets[0] - 0.8) & (depth < offsets[-1] + 0.8)
    seen &= joint.outside_cartilage(d, v) < 0
    seen &= down >= np.interp(depth, offsets, tops) - 0.5
    seen &= down <= np.interp(depth, offsets, bottoms) + 0.5
    upper = down < np.interp(depth, offsets, splits)
    return Quadrants(seen & upper, seen & ~upper)


def _plain(value: object) -> dict[str, object]:
    """A dataclass as JSON would hold it."""
    return {str(k): _json(v) for k, v in asdict(value).items()}  # type: ignore[call-overload]


def _json(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value
