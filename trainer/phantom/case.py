"""One invented patient: a T1 and a STIR volume, both delineations, and 28 true severities.

Everything follows from a seed.  Left is the patient's left, which is +x in LPS.
"""

from dataclasses import asdict, dataclass

import numpy as np

from models.delineation import Delineation
from models.findings import POSITIONS, Position, Side
from models.volume import Volume
from trainer.phantom.anatomy import Joint, Pelvis, restyled, sample_pelvis
from trainer.phantom.contrast import plain_shine, shine_of
from trainer.phantom.lesion_maps import (
    D_MM,
    V_MM,
    JointLesions,
    Quadrants,
    earned,
    place_lesions,
    sample_severity,
)
from trainer.phantom.negatives import PLACES, picture_elsewhere
from trainer.phantom.paint import Painter, Picture, Shine
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
"""Share of training cases that show no sacroiliac joint at all."""


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
        "early", "mixed", "advanced" or "balanced".
    without_joints
        True gives images without the joints: no contour, every severity 0. In plain style these
        are soft tissue without a pelvis, in others mostly other parts of the body.
    pelvis_seed
        Of the patient's shape, which his visits share; None draws it from the case's seed.
    severity
        Berlin grades in the order of POSITIONS; None draws them.
    style
        "plain" (schematic and always alike in kind), "plausible" (with anatomical variants and
        fat displaced as scanners displace it), "randomised" (far beyond the plausible), or
        "any" of the last two.
    """

    slices: int | None = None
    matrix: int | None = None
    disease: str = "mixed"
    without_joints: bool = False
    pelvis_seed: int | None = None
    severity: tuple[int, ...] | None = None
    style: str = "plain"


def training_options(seed: int) -> PhantomOptions:
    """What a training case of this seed should be: any style, balanced, a tenth elsewhere."""
    elsewhere = np.random.default_rng([seed, 11]).random() < SHARE_ELSEWHERE
    return PhantomOptions(disease="balanced", style="any", without_joints=bool(elsewhere))


@dataclass(frozen=True, eq=False)
class PhantomPatient:
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
    t1: PatientPose
    stir: PatientPose


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A patient and what is true of him; contour points are pixels of their own volume.

    Parameters
    ----------
    lesions_readable
        False where contrasts were invented so freely that no lesion looks like itself, or
        where no joint is there: such a case teaches contours only.
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


def make_case(seed: int, options: PhantomOptions = PhantomOptions()) -> PhantomCase:
    """An invented patient; the same seed and options always give the same one.

    Raises
    ------
    ValueError
        If an option is not among those known.
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
    plan = (free_plan if style.name == "randomised" else plausible_plan)(
        rng, pelvis, options.slices, options.matrix
    )
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
            severity |= earned(severity, side, lesions[side], quadrants[side])
    if options.without_joints:
        severity = dict.fromkeys(severity, 0)
    patient = PhantomPatient(pelvis, lesions, quadrants, plan.t1, plan.stir)
    return _imaged(rng, DrawnCase(seed, options, style, patient, plan, severity))


@dataclass(frozen=True, eq=False)
class DrawnCase:
    """All that is decided before the scanner starts."""

    seed: int
    options: PhantomOptions
    style: Style
    patient: PhantomPatient
    plan: ScanPlan
    severity: dict[Position, int]


def _imaged(rng: np.random.Generator, drawn: DrawnCase) -> PhantomCase:
    """Both sequences of what was drawn."""
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
        shine = _shine(rng, drawn, name, sequence)
        ideal = _ideal(drawn, view, shine, texture)
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
    """Which other place is shown; None for a pelvis, or for its soft tissue alone."""
    if not drawn.options.without_joints or drawn.style.name == "plain":
        return None
    rng = np.random.default_rng([drawn.seed, 13])
    return None if rng.random() < 0.15 else str(rng.choice(list(PLACES)))


def _ideal(drawn: DrawnCase, view: PatientPose, shine: Shine, texture: Texture) -> Picture:
    slab, look = view.slab, drawn.style.look
    step = step_mm(slab) if drawn.style.name == "randomised" else STEP_MM
    place = _elsewhere(drawn)
    if place is not None:
        rng = np.random.default_rng([drawn.seed, 17])
        return picture_elsewhere(rng, place, shine, slab, texture, step)
    edge_mm = slab.field_of_view_mm / painted_size(slab.field_of_view_mm, step) * 1.1 * look.edge
    with_joints = not drawn.options.without_joints
    painter = Painter(
        drawn.patient.pelvis, drawn.patient.lesions, shine, edge_mm, with_joints, look
    )
    return ideal_slices(painter, slab, view.pose, texture, step)


def _flaws(rng: np.random.Generator, style: Style, name: str, slab: Slab) -> Flaws:
    if style.name == "randomised":
        return free_flaws(rng, name, slab)
    flaws = plausible_flaws(rng, name, slab)
    return flaws if style.name == "plain" else with_fat_shift(rng, flaws)


def _shine(rng: np.random.Generator, drawn: DrawnCase, name: str, sequence: PulseSequence) -> Shine:
    pelvis = drawn.patient.pelvis
    if drawn.style.name == "plain":
        return plain_shine(rng, sequence, pelvis.marrow_dimming)
    return shine_of(rng, drawn.style, name, sequence, pelvis)


def sample_sequence(rng: np.random.Generator, name: str, field_t: float) -> PulseSequence:
    """Times of a T1 or a STIR protocol within what scanners are set to."""
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
    """Upper and lower half of a joint's surface, split at half the height each slice shows.

    Parameters
    ----------
    only_covered
        Whether what lies in front of the first slice or behind the last belongs to neither.
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
