"""One simulated patient: a T1 and a STIR volume, their delineations, and 28 true grades.

Everything is determined by a seed. Left is the patient's left, which is +x in LPS.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from models.delineation import Delineation
from models.findings import POSITIONS, Position, Side
from models.volume import Volume
from trainer.phantom.anatomy import Joint, Pelvis, restyled, sample_pelvis
from trainer.phantom.contrast import plain_signals, sequence_signals
from trainer.phantom.lesion_maps import (
    D_MM,
    V_MM,
    JointLesions,
    Quadrants,
    drawn_grades,
    place_lesions,
    sample_severity,
)
from trainer.phantom.negatives import PLACES, other_region_slices
from trainer.phantom.paint import Painter, Picture, Signals
from trainer.phantom.scan_plan import (
    PatientPose,
    ScanPlan,
    free_flaws,
    free_plan,
    plausible_flaws,
    plausible_plan,
    step_mm,
    with_fat_shift,
)
from trainer.phantom.scanner import (
    STEP_MM,
    Flaws,
    Pose,
    Slab,
    Texture,
    acquire,
    ideal_slices,
    painted_size,
    sample_texture,
    trace,
    visible_line,
)
from trainer.phantom.style import Style, sample_style
from trainer.phantom.tissue import PulseSequence

SHARE_ELSEWHERE = 0.1
"""Share of training cases without sacroiliac joints."""


@dataclass(frozen=True)
class PhantomOptions:
    """Options of a phantom case.

    Parameters
    ----------
    slices
        Slices per sequence; None samples 15 to 24.
    matrix
        Rows and columns; None samples them for each sequence.
    disease
        "early", "mixed", "advanced" or "balanced".
    without_joints
        True for images without the joints: no contours, all grades 0. In plain style these show
        soft tissue without a pelvis, in others mostly other body regions.
    pelvis_seed
        Seed of the anatomy, shared by a patient's visits; None derives it from the case's seed.
    severity
        Berlin grades in the order of POSITIONS; None samples them.
    style
        "plain" (schematic), "plausible" (with anatomical variants and chemical shift),
        "randomised" (far beyond the plausible), or "any" of the last two.
    """

    slices: int | None = None
    matrix: int | None = None
    disease: str = "mixed"
    without_joints: bool = False
    pelvis_seed: int | None = None
    severity: tuple[int, ...] | None = None
    style: str = "plain"


def training_options(seed: int) -> PhantomOptions:
    """Options of a training case: any style, balanced, one in ten without the joints."""
    elsewhere = np.random.default_rng([seed, 11]).random() < SHARE_ELSEWHERE
    return PhantomOptions(disease="balanced", style="any", without_joints=bool(elsewhere))


@dataclass(frozen=True, eq=False)
class PhantomPatient:
    """The patient before imaging.

    Parameters
    ----------
    lesions
        Of both joints, as painted.
    quadrants
        The halves of both joints' surfaces in which lesions were drawn.
    t1, stir
        Slices and pose of each sequence.
    """

    pelvis: Pelvis
    lesions: dict[Side, JointLesions]
    quadrants: dict[Side, Quadrants]
    t1: PatientPose
    stir: PatientPose


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A patient's images and truth; contour points are pixels of their own volume.

    Parameters
    ----------
    lesions_readable
        False if contrasts are arbitrary, so that lesions cannot be recognised, or if there are no
        joints: such a case is used to train contours only.
    """

    seed: int
    t1: Volume
    stir: Volume
    t1_truth: Delineation
    stir_truth: Delineation
    severity: dict[Position, int]
    parameters: dict[str, object]
    patient: PhantomPatient
    lesions_readable: bool = True


def _as_planned(plan: ScanPlan) -> ScanPlan:
    """Keep a plan."""
    return plan


def make_case(
    seed: int,
    options: PhantomOptions = PhantomOptions(),
    replanned: Callable[[ScanPlan], ScanPlan] = _as_planned,
) -> PhantomCase:
    """Generate a patient, reproducible by seed and options.

    Parameters
    ----------
    replanned
        Changes the scan plan, such as its field of view, before the images are acquired.

    Raises
    ------
    ValueError
        If an option is unknown.
    """
    rng = np.random.default_rng(seed)
    person = seed if options.pelvis_seed is None else options.pelvis_seed
    style = sample_style(np.random.default_rng([person, 7]), options.style)
    severity = sample_severity(rng, options.disease)
    if options.severity is not None:
        severity = dict(zip(POSITIONS, options.severity, strict=True))
    if options.without_joints:
        severity = dict.fromkeys(severity, 0)
    shaping = rng if options.pelvis_seed is None else np.random.default_rng(person)
    pelvis = sample_pelvis(shaping)
    plain = style.name == "plain"
    if not plain:
        bending = np.random.default_rng([person, 19])
        pelvis = restyled(pelvis, style.shape, style.look, bending)
    sampled = free_plan if style.name == "randomised" else plausible_plan
    plan = replanned(sampled(rng, pelvis, options.slices, options.matrix))
    slab, pose = plan.t1.slab, plan.t1.pose
    quadrants = {
        side: quadrants_on(joint, slab, pose, only_covered=not plain)
        for side, joint in pelvis.joints.items()
    }
    lesions = {
        side: place_lesions(rng, joint, quadrants[side], severity, style.lesions)
        for side, joint in pelvis.joints.items()
    }
    if not plain:
        for side in Side:
            severity |= drawn_grades(severity, side, lesions[side], quadrants[side])
    if options.without_joints:
        severity = dict.fromkeys(severity, 0)
    patient = PhantomPatient(pelvis, lesions, quadrants, plan.t1, plan.stir)
    return _imaged(rng, DrawnCase(seed, options, style, patient, plan, severity))


@dataclass(frozen=True, eq=False)
class DrawnCase:
    """Everything that is sampled before acquisition."""

    seed: int
    options: PhantomOptions
    style: Style
    patient: PhantomPatient
    plan: ScanPlan
    severity: dict[Position, int]


def _imaged(rng: np.random.Generator, drawn: DrawnCase) -> PhantomCase:
    """Acquire both sequences."""
    options, style, patient = drawn.options, drawn.style, drawn.patient
    texture = sample_texture(rng)
    field_t = float(rng.choice([1.5, 3.0]))
    seen: dict[str, tuple[Volume, Delineation]] = {}
    parameters: dict[str, object] = {"disease": options.disease, "pelvis": _plain(patient.pelvis)}
    joints = {} if options.without_joints else patient.pelvis.joints
    for name, view in drawn.plan.views.items():
        slab, at = view.slab, view.pose
        sequence = sample_sequence(rng, name, field_t)
        flaws = _flaws(rng, style, name, slab)
        signals = _signals(rng, drawn, name, sequence)
        ideal = _ideal(drawn, view, signals, texture)
        volume = acquire(ideal, slab, flaws=flaws, noise_seed=int(rng.integers(2**32)))
        seen[name] = (volume, trace(joints, slab, at))
        parameters[name] = _plain(sequence) | _plain(slab) | {"flaws": _plain(flaws)}
    parameters["shift_mm"] = [float(s) for s in drawn.plan.shift_mm]
    parameters["style"] = _plain(style)
    if _elsewhere(drawn):
        parameters["place"] = _elsewhere(drawn)
    readable = style.lesions_readable and not options.without_joints
    return PhantomCase(drawn.seed, seen["t1"][0], seen["stir"][0], seen["t1"][1],
                       seen["stir"][1], drawn.severity, parameters, patient, readable)  # fmt: skip


def _elsewhere(drawn: DrawnCase) -> str | None:
    """The other region shown; None for a pelvis, or for its soft tissue only."""
    if not drawn.options.without_joints or drawn.style.name == "plain":
        return None
    rng = np.random.default_rng([drawn.seed, 13])
    return None if rng.random() < 0.15 else str(rng.choice(list(PLACES)))


def _ideal(drawn: DrawnCase, view: PatientPose, signals: Signals, texture: Texture) -> Picture:
    slab, look = view.slab, drawn.style.look
    step = step_mm(slab) if drawn.style.name == "randomised" else STEP_MM
    place = _elsewhere(drawn)
    if place is not None:
        rng = np.random.default_rng([drawn.seed, 17])
        return other_region_slices(rng, place, signals, slab, texture, step)
    edge_mm = slab.field_of_view_mm / painted_size(slab.field_of_view_mm, step) * 1.1 * look.edge
    with_joints = not drawn.options.without_joints
    painter = Painter(
        drawn.patient.pelvis, drawn.patient.lesions, signals, edge_mm, with_joints, look
    )
    return ideal_slices(painter, slab, view.pose, texture, step)


def _flaws(rng: np.random.Generator, style: Style, name: str, slab: Slab) -> Flaws:
    if style.name == "randomised":
        return free_flaws(rng, name, slab)
    flaws = plausible_flaws(rng, name, slab)
    return flaws if style.name == "plain" else with_fat_shift(rng, flaws)


def _signals(
    rng: np.random.Generator, drawn: DrawnCase, name: str, sequence: PulseSequence
) -> Signals:
    pelvis = drawn.patient.pelvis
    if drawn.style.name == "plain":
        return plain_signals(rng, sequence, pelvis.marrow_dimming)
    return sequence_signals(rng, drawn.style, name, sequence, pelvis)


def sample_sequence(rng: np.random.Generator, name: str, field_t: float) -> PulseSequence:
    """Sample the timing of a T1 or STIR protocol within the usual range."""
    if name == "t1":
        return PulseSequence(field_t, float(rng.uniform(420, 780)), float(rng.uniform(7, 20)))
    inversion = rng.uniform(140, 185) if field_t < 2 else rng.uniform(180, 245)
    return PulseSequence(
        field_t,
        float(rng.uniform(3000, 6200)),
        float(rng.uniform(28, 68)),
        float(inversion),
        float(rng.uniform(60, 140)),
    )


def quadrants_on(joint: Joint, slab: Slab, pose: Pose, only_covered: bool = False) -> Quadrants:
    """Upper and lower half of a joint's surface, split at half the height visible per slice.

    Parameters
    ----------
    only_covered
        True to exclude the surface in front of the first slice and behind the last.
    """
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
    if only_covered:
        reach = slab.offsets_mm()[-1] + slab.distance_mm / 2
        offsets_seen = np.abs(depth) <= reach
    else:
        offsets_seen = np.ones(depth.shape, bool)
    if not offsets:
        nothing = np.zeros(d.shape, bool)
        return Quadrants(nothing, nothing)
    seen = (depth > offsets[0] - 0.8) & (depth < offsets[-1] + 0.8)
    seen &= offsets_seen & (joint.outside_cartilage(d, v) < 0)
    seen &= down >= np.interp(depth, offsets, tops) - 0.5
    seen &= down <= np.interp(depth, offsets, bottoms) + 0.5
    upper = down < np.interp(depth, offsets, splits)
    return Quadrants(seen & upper, seen & ~upper)


def _plain(value: object) -> dict[str, object]:
    """A dataclass as plain JSON types."""
    return {str(k): _json(v) for k, v in asdict(value).items()}  # type: ignore[call-overload]


def _json(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value
