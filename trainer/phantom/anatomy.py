"""Anatomy of a simulated pelvis: sacrum, ilia, joints and surrounding tissue.

Positions are in millimetres in the pelvis frame: ``x`` to the patient's left, ``d``
(depth) backwards, perpendicular to the sacrum's long axis, ``v`` upwards along it.  The origin
lies midway between both joints.

Source: L-shaped auricular surface with limbs of about 44 and 56 mm, 20 mm wide; joint space
about 1.7 mm; joints converging downwards by 10 to 25 degrees.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Side
from trainer.phantom.style import Look, Shape

Grid = NDArray[np.floating[Any]]
"""Values on part of an image plane; float32 while painting."""


@dataclass(frozen=True)
class Wave:
    """One ripple of a joint surface: amplitude, spatial frequency along d and v, and phase."""

    height_mm: float
    per_mm_d: float
    per_mm_v: float
    phase: float


@dataclass(frozen=True)
class Bump:
    """A round spot on a joint surface: a bulge, or a contact of both bones."""

    height_mm: float
    d_mm: float
    v_mm: float
    radius_mm: float

    def at(self, d: Grid, v: Grid) -> Grid:
        """Height in mm, falling off from the centre to the radius."""
        away2 = (d - self.d_mm) ** 2 + (v - self.v_mm) ** 2
        height: Grid = self.height_mm * np.exp(-1.5 * away2 / self.radius_mm**2)
        return height


@dataclass(frozen=True)
class Joint:
    """One joint: its midsurface ``x = ±X(d, v)`` and the outline of its cartilage on it.

    Parameters
    ----------
    bulges
        Of the ilium into the sacrum, as in an iliosacral complex.
    accessory
        An accessory joint behind the joint, between the ligaments.
    """

    side: Side
    half_width_mm: float
    slope: float
    slope_depth: float
    bow_mm: float
    waves: tuple[Wave, ...]
    space_mm: float
    cortex_mm: float
    apex: tuple[float, float]
    cranial_end: tuple[float, float]
    caudal_end: tuple[float, float]
    limb_radius_mm: float
    bulges: tuple[Bump, ...] = ()
    accessory: Bump | None = None

    @property
    def sign(self) -> int:
        """+1 on the patient's left, where x is positive in LPS."""
        return 1 if self.side is Side.LEFT else -1

    def distance_from_midline(self, d: Grid, v: Grid) -> Grid:
        """X(d, v): distance of the joint's midsurface from the midline, in mm."""
        return self.smooth_distance(d, v) + self.ripple(d, v)

    def smooth_distance(self, d: Grid, v: Grid) -> Grid:
        """X(d, v) without its ripples."""
        near = np.clip(v / 30, -2, 2)
        at: Grid = self.half_width_mm + self.slope * v + self.slope_depth * d
        at = at + self.bow_mm * (near * near - 0.35)
        return at

    def ripple(self, d: Grid, v: Grid) -> Grid:
        """The ripples and bulges of X(d, v), in mm."""
        waves = (
            wave.height_mm * np.sin(wave.per_mm_d * d + wave.per_mm_v * v + wave.phase)
            for wave in self.waves
        )
        rippled: Grid = sum(waves, np.zeros_like(d))
        for bulge in self.bulges:
            rippled = rippled - bulge.at(d, v)
        return rippled

    @property
    def steepness(self) -> float:
        """Factor from a distance along x to one across the surface."""
        return float(1 / np.sqrt(1 + self.slope**2 + self.slope_depth**2))

    def outside_cartilage(self, d: Grid, v: Grid) -> Grid:
        """Signed distance to the outline of the auricular surface, negative inside, in mm."""
        cranial = _distance_to_segment(d, v, self.apex, self.cranial_end)
        caudal = _distance_to_segment(d, v, self.apex, self.caudal_end)
        nearest: Grid = np.minimum(cranial, caudal) - self.limb_radius_mm
        return nearest


def _distance_to_segment(
    d: Grid, v: Grid, start: tuple[float, float], end: tuple[float, float]
) -> Grid:
    along_d, along_v = end[0] - start[0], end[1] - start[1]
    length2 = along_d**2 + along_v**2
    at = np.clip(((d - start[0]) * along_d + (v - start[1]) * along_v) / length2, 0, 1)
    off: Grid = np.sqrt((d - start[0] - at * along_d) ** 2 + (v - start[1] - at * along_v) ** 2)
    return off


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of one tissue, axis-aligned in the pelvis frame."""

    tissue: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    opacity: float = 1.0


@dataclass(frozen=True)
class Foramen:
    """A sacral foramen from front to back, with fat and a nerve."""

    side: Side
    x_mm: float
    v_mm: float
    radius_mm: float
    slant: float


@dataclass(frozen=True)
class Pelvis:
    """A patient's anatomy, which is the same for all sequences."""

    joints: dict[Side, Joint]
    body_half_width_mm: float
    body_half_depth_mm: float
    back_mm: float
    skin_fat_mm: float
    sacral_tilt_rad: float
    sacrum_front_mm: float
    sacrum_back_mm: float
    endplate_mm: float
    ilium_thickness_mm: float
    crest_mm: float
    canal_mm: tuple[float, float, float]
    foramina: tuple[Foramen, ...]
    marrow_dimming: float
    marrow_fattiness: float
    marrow_unevenness: float
    muscle_fat: float
    lamella_mm: float
    notch_fat: float
    blobs: tuple[Blob, ...]
    ilium_floor_mm: float = 0.0
    sacrum_tip_mm: float | None = None
    parting: float = 1.0


def sample_joint(rng: np.random.Generator, side: Side, shared: dict[str, float]) -> Joint:
    """Sample one joint, with parameters shared by both sides."""
    jitter = rng.normal
    apex_d = shared["apex_d"] + jitter(0, 1.0)
    apex_v = shared["apex_v"] + jitter(0, 1.5)
    opening = np.deg2rad(shared["cranial_deg"] + jitter(0, 3))
    closing = np.deg2rad(shared["caudal_deg"] + jitter(0, 3))
    cranial = shared["cranial_mm"] + jitter(0, 1.5)
    caudal = shared["caudal_mm"] + jitter(0, 1.5)
    waves = tuple(
        Wave(
            float(rng.uniform(0.1, 1.1)),
            float(rng.normal(0, 0.08)),
            float(rng.choice([-1, 1]) * rng.uniform(0.06, 0.2)),
            float(rng.uniform(0, 2 * np.pi)),
        )
        for _ in range(3)
    )
    return Joint(
        side=side,
        half_width_mm=shared["half_width"] + jitter(0, 1.5),
        slope=float(np.clip(shared["slope"] + jitter(0, 0.04), 0.15, 0.5)),
        slope_depth=shared["slope_depth"] + jitter(0, 0.04),
        bow_mm=shared["bow"] + jitter(0, 0.8),
        waves=waves,
        space_mm=float(np.clip(shared["space"] + jitter(0, 0.25), 0.9, 3.2)),
        cortex_mm=float(np.clip(rng.normal(1.0, 0.25), 0.5, 1.8)),
        apex=(apex_d, apex_v),
        cranial_end=_ahead(apex_d, apex_v, cranial, opening),
        caudal_end=_ahead(apex_d, apex_v, caudal, -closing),
        limb_radius_mm=float(np.clip(shared["radius"] + jitter(0, 0.6), 8.5, 13.5)),
    )


def _ahead(d: float, v: float, length_mm: float, angle_rad: float) -> tuple[float, float]:
    return float(d + length_mm * np.cos(angle_rad)), float(v + length_mm * np.sin(angle_rad))


def _shared_shape(rng: np.random.Generator) -> dict[str, float]:
    superior, inferior = rng.uniform(95, 115) / 2, rng.uniform(60, 80) / 2
    return {
        "half_width": float(superior + inferior) / 2,
        "slope": float(superior - inferior) / 54,
        "slope_depth": float(rng.uniform(-0.38, -0.08)),
        "bow": float(rng.normal(0.6, 1.6)),
        "space": float(np.clip(rng.normal(1.9, 0.5), 1.0, 3.2)),
        "apex_d": float(rng.uniform(-18, -12)),
        "apex_v": float(rng.uniform(-3, 5)),
        "cranial_deg": float(rng.uniform(40, 54)),
        "caudal_deg": float(rng.uniform(36, 50)),
        "cranial_mm": float(rng.uniform(20, 27)),
        "caudal_mm": float(rng.uniform(26, 35)),
        "radius": float(rng.uniform(9.5, 12.5)),
    }


def _vessels(rng: np.random.Generator, joints: dict[Side, Joint]) -> list[Blob]:
    """Large vessels in front of the sacrum, small ones behind the joint and in the notch."""
    found = []
    for joint in joints.values():
        for _ in range(int(rng.integers(2, 4))):
            centre = (joint.sign * rng.uniform(22, 52), rng.uniform(-62, -38), rng.uniform(-20, 45))
            thick = rng.uniform(3.5, 7)
            kind = str(rng.choice(["vessel", "gas", "vessel"]))
            found.append(Blob(kind, centre, (thick, thick, rng.uniform(15, 50))))
        for _ in range(int(rng.integers(3, 9))):
            d, v = float(rng.uniform(5, 34)), float(rng.uniform(-45, 38))
            x = joint.half_width_mm + joint.slope * v + joint.slope_depth * d + rng.normal(0, 4)
            thick = rng.uniform(0.9, 2.4)
            radii = tuple(float(thick * stretch) for stretch in rng.uniform(1, 4, 3))
            found.append(
                Blob("vessel", (joint.sign * x, d, v), (radii[0], radii[1], radii[2]), 0.8)
            )
        for _ in range(int(rng.integers(2, 6))):
            centre = (joint.sign * rng.uniform(35, 90), rng.uniform(-20, 40), rng.uniform(-85, -42))
            thick = rng.uniform(1.2, 3)
            found.append(Blob("vessel", centre, (thick * rng.uniform(1, 6), thick, thick)))
    return found


def _bowel(rng: np.random.Generator) -> list[Blob]:
    found = []
    for _ in range(int(rng.integers(14, 34))):
        v = rng.uniform(-95, 40)
        front = -33 + 25 * float(np.clip((15 - v) / 60, 0, 1))
        centre = (rng.uniform(-48, 48), front - rng.uniform(12, 55), v)
        radii = (rng.uniform(6, 24), rng.uniform(8, 22), rng.uniform(6, 24))
        kind = rng.choice(
            ["bowel", "bowel", "gas", "fluid", "muscle"], p=[0.4, 0.25, 0.1, 0.1, 0.15]
        )
        found.append(Blob(str(kind), centre, radii))
    return found


def _marrow_islands(rng: np.random.Generator, joints: dict[Side, Joint]) -> list[Blob]:
    """Red and yellow marrow islands and bone islands, mostly away from the joint."""
    found = []
    kinds = ["red marrow", "red marrow", "yellow marrow", "sclerosis"]
    for joint in joints.values():
        for _ in range(int(rng.integers(1, 7))):
            d, v = float(rng.uniform(-25, 25)), float(rng.uniform(-35, 40))
            away = float(rng.choice([-1, 1]) * rng.uniform(8, 26))
            x = joint.half_width_mm + joint.slope * v + joint.slope_depth * d + away
            size = rng.uniform(2, 8, 3)
            kind = str(rng.choice(kinds, p=[0.4, 0.25, 0.28, 0.07]))
            if kind == "sclerosis":
                size = size * 0.45
            found.append(
                Blob(
                    kind,
                    (joint.sign * x, d, v),
                    (float(size[0]), float(size[1]), float(size[2])),
                    float(rng.uniform(0.3, 0.9)),
                )
            )
    return found


def _foramina(rng: np.random.Generator) -> tuple[Foramen, ...]:
    widest = rng.uniform(4, 7.5)
    return tuple(
        Foramen(
            side,
            23 - 2.4 * level + rng.normal(0, 1),
            13 - 17 * level + rng.normal(0, 2),
            float(widest - 0.7 * level + rng.normal(0, 0.5)),
            rng.normal(-0.2, 0.12),
        )
        for side in Side
        for level in range(4)
    )


def sample_pelvis(rng: np.random.Generator) -> Pelvis:
    """Sample a patient's anatomy."""
    shared = _shared_shape(rng)
    joints = {side: sample_joint(rng, side, shared) for side in Side}
    uniform = rng.uniform
    return Pelvis(
        joints=joints,
        body_half_width_mm=float(uniform(150, 215)),
        body_half_depth_mm=float(uniform(105, 170)),
        back_mm=float(uniform(68, 125)),
        skin_fat_mm=float(uniform(8, 40)),
        sacral_tilt_rad=float(np.deg2rad(uniform(8, 45))),
        sacrum_front_mm=float(uniform(-36, -29)),
        sacrum_back_mm=float(uniform(26, 34)),
        endplate_mm=float(uniform(28, 36)),
        ilium_thickness_mm=float(uniform(17, 26)),
        crest_mm=float(uniform(55, 95)),
        canal_mm=(float(uniform(6, 11)), float(uniform(4, 7)), float(uniform(10, 17))),
        foramina=_foramina(rng),
        marrow_dimming=float(uniform(0.5, 1.0)),
        marrow_fattiness=float(uniform(0.1, 0.65)),
        marrow_unevenness=float(uniform(0.08, 0.6)),
        muscle_fat=float(uniform(0.0, 1.0)),
        lamella_mm=float(uniform(7, 16)),
        notch_fat=float(uniform(0.2, 0.85)),
        blobs=tuple(_bowel(rng) + _vessels(rng, joints) + _marrow_islands(rng, joints)),
    )


def restyled(pelvis: Pelvis, shape: Shape, look: Look, rng: np.random.Generator) -> Pelvis:
    """The same patient with the deformations and omissions of a style."""
    joints = {side: _bent(joint, shape, rng) for side, joint in pelvis.joints.items()}
    wider = {side: joints[side].half_width_mm / pelvis.joints[side].half_width_mm for side in Side}
    mean = (wider[Side.LEFT] + wider[Side.RIGHT]) / 2
    blobs = (b for b in pelvis.blobs if b.tissue not in look.dropped)
    bent = replace(
        pelvis,
        joints=joints,
        skin_fat_mm=pelvis.skin_fat_mm if look.skin else 0.0,
        ilium_thickness_mm=_or(shape.wing_mm, pelvis.ilium_thickness_mm),
        crest_mm=_or(shape.crest_mm, pelvis.crest_mm),
        sacrum_front_mm=_or(shape.sacrum_front_mm, pelvis.sacrum_front_mm),
        sacrum_back_mm=_or(shape.sacrum_back_mm, pelvis.sacrum_back_mm),
        endplate_mm=_or(shape.endplate_mm, pelvis.endplate_mm),
        ilium_floor_mm=shape.floor_mm,
        sacrum_tip_mm=shape.tip_mm,
        parting=shape.parting,
        marrow_unevenness=_or(shape.unevenness, pelvis.marrow_unevenness),
        foramina=tuple(
            replace(f, x_mm=f.x_mm * wider[f.side]) for f in pelvis.foramina if look.foramina
        ),
        blobs=tuple(
            replace(b, centre=(b.centre[0] * mean, b.centre[1], b.centre[2])) for b in blobs
        ),
    )
    return _enclosing(bent)


def _enclosing(pelvis: Pelvis) -> Pelvis:
    """The same pelvis with both bones extended to cover the cartilage between them."""
    joints = pelvis.joints.values()
    top = max(j.cranial_end[1] + j.limb_radius_mm for j in joints)
    bottom = min(j.caudal_end[1] - j.limb_radius_mm for j in joints)
    front = min(j.apex[0] - j.limb_radius_mm for j in joints)
    tip = pelvis.sacrum_tip_mm
    return replace(
        pelvis,
        endplate_mm=max(pelvis.endplate_mm, top + 2),
        crest_mm=max(pelvis.crest_mm, top + 4),
        sacrum_front_mm=min(pelvis.sacrum_front_mm, front + 2),
        sacrum_tip_mm=None if tip is None else min(tip, bottom - 2),
        ilium_floor_mm=min(pelvis.ilium_floor_mm, bottom + 38),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _bent(joint: Joint, shape: Shape, rng: np.random.Generator) -> Joint:
    uneven = shape.asymmetry
    half_width = _or(shape.half_width_mm, joint.half_width_mm) + uneven * rng.normal(0, 5)
    slope = _or(shape.slope, joint.slope) + uneven * rng.normal(0, 0.15)
    waves = [replace(w, height_mm=w.height_mm * shape.ripple) for w in joint.waves]
    if shape.curve_mm:
        phase = rng.uniform(0, 2 * np.pi)
        waves.append(Wave(shape.curve_mm, rng.normal(0, 0.02), shape.curve_per_mm, phase))
    size = shape.size * float(np.exp(uneven * rng.normal(0, 0.1)))
    return replace(
        joint,
        half_width_mm=half_width,
        slope=float(np.clip(slope, -0.15, (half_width - 8) / 42)),
        slope_depth=_or(shape.slope_depth, joint.slope_depth),
        bow_mm=_or(shape.bow_mm, joint.bow_mm),
        waves=tuple(waves),
        space_mm=_or(shape.space_mm, joint.space_mm),
        cortex_mm=_or(shape.cortex_mm, joint.cortex_mm),
        cranial_end=_farther(joint.apex, joint.cranial_end, size),
        caudal_end=_farther(joint.apex, joint.caudal_end, size),
        limb_radius_mm=joint.limb_radius_mm * float(np.clip(size, 0.8, 1.15)),
        bulges=_bulges(rng) if shape.iliosacral_complex[joint.sign > 0] else (),
        accessory=_accessory(rng) if shape.accessory_joint[joint.sign > 0] else None,
    )


def _farther(
    start: tuple[float, float], end: tuple[float, float], by: float
) -> tuple[float, float]:
    return start[0] + by * (end[0] - start[0]), start[1] + by * (end[1] - start[1])


def _bulges(rng: np.random.Generator) -> tuple[Bump, ...]:
    """An iliac convexity, a few millimetres high, at the middle of the joint's rear part."""
    uniform = rng.uniform
    return (Bump(uniform(2.5, 5), uniform(-2, 10), uniform(-4, 12), uniform(7, 12)),)


def _accessory(rng: np.random.Generator) -> Bump:
    """At the height of the first and second foramen, behind the cartilage."""
    uniform = rng.uniform
    return Bump(uniform(0.75, 0.95), uniform(16, 26), uniform(-8, 8), uniform(6, 10))
