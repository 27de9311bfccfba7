"""Lesions of sacroiliitis: grades at the 28 positions, and maps of their extent.

A lesion is a map over the joint surface that gives its depth into the bone at each point. A
quadrant is the bone within 12 mm of the joint in the upper or lower half of the visible height of
a slice, so the share of a quadrant that a lesion fills is the mean of a map.

Source: Berlin score: oedema and fatty lesion by the share of the quadrant (a third, two thirds),
erosions by their number (1 to 2, 3 to 5, more); sclerosis and ankylosis per joint.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from models.findings import HEADS, ILIUM, POSITIONS, QUADRANTS, Head, Lesion, Position, Region, Side
from trainer.phantom.anatomy import Joint
from trainer.phantom.style import PIT_FILLINGS, PLAIN, LesionStyle

ZONE_MM = 12.0
D_MM = np.arange(-50, 51, dtype=np.float32)
V_MM = np.arange(-60, 61, dtype=np.float32)
FRACTIONS = {1: (0.05, 0.32), 2: (0.34, 0.65), 3: (0.67, 0.92)}
"""Share of a quadrant for the Berlin grades of oedema and fatty lesion."""
SUBTHRESHOLD = (0.004, 0.03)
"""Share of a quadrant filled by a lesion too small to be graded."""
OPACITIES = {
    Lesion.OEDEMA: {0: (0.15, 0.8), 1: (0.14, 0.7), 2: (0.3, 0.9), 3: (0.4, 1.0)},
    Lesion.FATTY_LESION: {0: (0.2, 0.9), 1: (0.35, 0.95), 2: (0.5, 1.0), 3: (0.6, 1.0)},
}
"""Opacity by grade; low grades are often faint."""
COUNTS = {1: (1, 2), 2: (3, 5), 3: (6, 9)}
"""Numbers of erosions for the Berlin grades."""
THINNEST_SHEET_MM = 2.5
"""A thinner rim of sclerosis along the joint is normal."""
JOINT_FRACTIONS = {1: (0.10, 0.22), 2: (0.25, 0.45), 3: (0.5, 0.85)}

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LEVEL = {"early": -0.55, "mixed": 0.0, "advanced": 0.75, "balanced": 0.1}
_HEALTHY = {"early": 0.3, "mixed": 0.12, "advanced": 0.0, "balanced": 0.1}
_RAISED = {Lesion.EROSION: 0.2, Lesion.SCLEROSIS: 0.5, Lesion.ANKYLOSIS: 0.9}
"""Increase of rare lesions in balanced cases."""
_OFFSET = {
    Lesion.OEDEMA: -0.8,
    Lesion.EROSION: -0.9,
    Lesion.FATTY_LESION: -0.85,
    Lesion.SCLEROSIS: -0.85,
    Lesion.ANKYLOSIS: -1.45,
}
_PLACE = {
    Region.UPPER_ILIUM: 0.0,
    Region.LOWER_ILIUM: 0.25,
    Region.UPPER_SACRUM: -0.2,
    Region.LOWER_SACRUM: 0.05,
    Region.JOINT: 0.0,
}


def sample_severity(rng: np.random.Generator, disease: str) -> dict[Position, int]:
    """Sample Berlin grades 0 to 3 of all 28 positions, correlated by patient, side and lesion.

    Parameters
    ----------
    disease
        Stage of disease, "early", "mixed" or "advanced"; or "balanced", with more rare lesions
        and less correlation.

    Raises
    ------
    ValueError
        If `disease` is unknown.
    """
    if disease not in _LEVEL:
        raise ValueError(f"disease must be one of {', '.join(_LEVEL)}, not {disease!r}")
    patient = rng.normal(_LEVEL[disease], 0.75)
    sides = {side: rng.normal(0, 0.45) for side in Side}
    balanced = disease == "balanced"
    lesions = {lesion: rng.normal(0, 0.8 if balanced else 0.5) for lesion in Lesion}
    both = {(side, lesion): rng.normal(0, 0.3) for side in Side for lesion in Lesion}
    healthy = rng.random() < _HEALTHY[disease]
    grades = {}
    for position in POSITIONS:
        side, head = position.side, position.head
        strength = patient + sides[side] + lesions[head.lesion] + both[side, head.lesion]
        strength += _OFFSET[head.lesion] + _PLACE[head.region] + rng.normal(0, 0.55)
        if balanced:
            strength += _RAISED.get(head.lesion, 0.0)
        grades[position] = 0 if healthy else int(np.searchsorted([0.0, 0.65, 1.3], strength))
    return grades


_BESIDE = {
    Region.UPPER_ILIUM: Region.LOWER_ILIUM,
    Region.LOWER_ILIUM: Region.UPPER_ILIUM,
    Region.UPPER_SACRUM: Region.LOWER_SACRUM,
    Region.LOWER_SACRUM: Region.UPPER_SACRUM,
}
"""The other quadrant of the same bone."""


@dataclass(frozen=True, eq=False)
class Quadrants:
    """Masks of the upper and lower half of a joint's surface map."""

    upper: Mask
    lower: Mask

    def of(self, region: Region) -> Mask:
        """The half of a quadrant; both halves for the whole joint."""
        if region is Region.JOINT:
            return self.upper | self.lower
        upper = region in (Region.UPPER_ILIUM, Region.UPPER_SACRUM)
        return self.upper if upper else self.lower


def is_iliac(region: Region) -> bool:
    """Whether a quadrant is in the ilium, lateral to the joint."""
    return region in ILIUM


def _flat() -> Map:
    return np.zeros((len(D_MM), len(V_MM)), np.float32)


@dataclass(eq=False)
class BoneLesions:
    """Lesions of one bone of a joint: depths in mm and opacities (0 to 1) per surface point.

    A lesion reaches from its start depth (0 at the joint) to its depth. The filling of an erosion
    is an index into `PIT_FILLINGS`.
    """

    oedema_start_mm: Map = field(default_factory=_flat)
    oedema_mm: Map = field(default_factory=_flat)
    oedema_opacity: Map = field(default_factory=_flat)
    fatty_start_mm: Map = field(default_factory=_flat)
    fatty_mm: Map = field(default_factory=_flat)
    fatty_opacity: Map = field(default_factory=_flat)
    erosion_mm: Map = field(default_factory=_flat)
    erosion_fat: Map = field(default_factory=_flat)
    erosion_filling: NDArray[np.intp] = field(default_factory=lambda: _flat().astype(np.intp))
    sclerosis_start_mm: Map = field(default_factory=_flat)
    sclerosis_mm: Map = field(default_factory=_flat)


@dataclass(eq=False)
class JointLesions:
    """All lesions of one joint."""

    ilium: BoneLesions
    sacrum: BoneLesions
    ankylosis: Map
    fluid: Map
    sclerosis_opacity: float
    edge_mm: float
    bridge_mm: float = PLAIN.lesions.bridge_mm

    def bank(self, region: Region) -> BoneLesions:
        """The lesions of a quadrant's bone."""
        return self.ilium if is_iliac(region) else self.sacrum


def share_of_zone(depth_mm: Map, inside: Mask, start_mm: Map | None = None) -> float:
    """Share of a quadrant (12 mm deep) filled by a lesion between these depths."""
    if not inside.any():
        return 0.0
    filled = np.clip(depth_mm[inside] / ZONE_MM, 0, 1)
    if start_mm is not None:
        filled = np.clip(filled - start_mm[inside] / ZONE_MM, 0, 1)
    return float(filled.mean())


def _taper(inside: Mask, reach_mm: float) -> Map:
    """A weight that falls to 0 at the border of the other half, to keep lesions out of it."""
    return np.asarray(np.clip(distance_transform_edt(inside) / reach_mm, 0, 1), np.float32)


@dataclass(frozen=True, eq=False)
class Half:
    """A quadrant's part of a surface map, and the part where lesions keep full depth."""

    inside: Mask
    room: Mask


def lesion_depth(rng: np.random.Generator, half: Half, share: float) -> Map:
    """A lumpy lesion on one half of the surface that fills `share` of its quadrant."""
    inside = half.inside
    if not inside.any():
        return _flat()
    lumps = gaussian_filter(rng.normal(size=inside.shape).astype(np.float32), rng.uniform(3, 8))
    d, v = np.argwhere(inside)[rng.integers(int(inside.sum()))]
    away = np.hypot(D_MM[:, None] - D_MM[d], V_MM[None, :] - V_MM[v])
    liking = lumps / lumps.std() - away / rng.uniform(6, 14)
    liking = liking - liking[inside].max()
    taper = _taper(half.room, 1.5 if share > 0.5 else 3.0) * inside
    deepest = rng.uniform(5, 13) if share < 0.34 else rng.uniform(12, 18)
    low, high = 0.0, 80.0
    depth = _flat()
    for _ in range(14):
        reach = (low + high) / 2
        depth = taper * deepest * np.sqrt(np.clip((liking + reach) / 1.5, 0, 1), dtype=np.float32)
        if share_of_zone(depth, inside) < share:
            low = reach
        else:
            high = reach
    lacking = share / max(share_of_zone(depth, inside), 1e-6)
    if lacking > 1.02:
        depth = depth * lacking**1.3
    return depth.astype(np.float32)


def _one_of(rng: np.random.Generator, forms: tuple[str, ...]) -> str:
    return forms[0] if len(forms) == 1 else str(rng.choice(forms))


def _in_form(
    rng: np.random.Generator, half: Half, share: float, forms: tuple[str, ...]
) -> tuple[Map, Map]:
    """Start and depth of a lesion in one of the forms, filling `share` of its quadrant."""
    form = _one_of(rng, forms)
    if form == "band" and half.inside.any():
        return _flat(), _band(rng, half.inside, share)
    if form == "sheet" and share * ZONE_MM > THINNEST_SHEET_MM:
        return _flat(), half.inside * np.float32(share * ZONE_MM)
    if form == "blob" and half.inside.any():
        start, depth = _blob(rng, half.inside, share)
        if abs(share_of_zone(depth, half.inside, start) - share) < 0.1 * share:
            return start, depth
    return _flat(), lesion_depth(rng, half, share)


def _band(rng: np.random.Generator, inside: Mask, share: float) -> Map:
    """A layer of constant depth along a connected part of the surface."""
    deep = float(np.clip(rng.uniform(2.5, 12), share * ZONE_MM, ZONE_MM))
    depth = _flat()
    depth[_nearest(rng, inside, share * ZONE_MM / deep)] = deep
    return depth


def _nearest(rng: np.random.Generator, inside: Mask, share: float) -> Mask:
    """The part of a surface nearest to a random point, of the given share."""
    d, v = np.argwhere(inside)[rng.integers(int(inside.sum()))]
    away = np.hypot(D_MM[:, None] - D_MM[d], V_MM[None, :] - V_MM[v])
    return np.asarray(inside & (away <= np.quantile(away[inside], min(share, 1.0))))


def _blob(rng: np.random.Generator, inside: Mask, share: float) -> tuple[Map, Map]:
    """Up to three ellipsoids, centred in the bone or on its surface."""
    spots = np.argwhere(inside)
    centres = spots[rng.integers(len(spots), size=int(rng.integers(1, 4)))]
    below = rng.uniform(0, 8, len(centres))
    stretch = rng.uniform(0.6, 1.6, (len(centres), 3))
    low, high = 0.5, 40.0
    start, depth = _flat(), _flat()
    for _ in range(12):
        radius = (low + high) / 2
        start, depth = _ellipsoids(centres, below, radius * stretch)
        start, depth = start * inside, depth * inside
        if share_of_zone(depth, inside, start) < share:
            low = radius
        else:
            high = radius
    return start, depth


def _ellipsoids(
    centres: NDArray[np.int64], below_mm: NDArray[np.float64], radii_mm: NDArray[np.float64]
) -> tuple[Map, Map]:
    start, depth = np.full_like(_flat(), ZONE_MM), _flat()
    for (d, v), deep, (wide, high, thick) in zip(centres, below_mm, radii_mm, strict=True):
        off = ((D_MM - D_MM[d]) / wide)[:, None] ** 2 + ((V_MM - V_MM[v]) / high)[None, :] ** 2
        half = thick * np.sqrt(np.clip(1 - off, 0, 1))
        near, far = np.clip(deep - half, 0, None), np.clip(deep + half, 0, ZONE_MM)
        start = np.where(half > 0, np.minimum(start, near), start)
        depth = np.where(half > 0, np.maximum(depth, far), depth)
    start = np.where((depth > 0) & (start > 0.5), start, 0)
    return start.astype(np.float32), depth.astype(np.float32)


def _erosions(
    rng: np.random.Generator, inside: Mask, count: int, style: LesionStyle = PLAIN.lesions
) -> Map:
    """Pits of at least 3 mm in the cortex, separate or confluent."""
    depth = _flat()
    inner = inside & (distance_transform_edt(inside) > 1.5)
    spots = np.argwhere(inner if inner.any() else inside)
    chosen: list[NDArray[np.int64]] = []
    apart_mm = 3.0 if style.confluent else 5.5
    for _ in range(60):
        if len(chosen) == count or not len(spots):
            break
        spot = spots[rng.integers(len(spots))]
        if all(np.hypot(*(spot - other)) > apart_mm for other in chosen):
            chosen.append(spot)
    for d, v in chosen:
        radii = rng.uniform(1.7, style.widest_pit_mm, 2)
        ball = 1 - ((D_MM[:, None] - D_MM[d]) / (radii[0] + 1)) ** 2
        ball = ball - ((V_MM[None, :] - V_MM[v]) / radii[1]) ** 2
        depth = np.maximum(
            depth,
            rng.uniform(3.0, 5.5)
            * (style.widest_pit_mm / 3.4) ** 0.5
            * np.sqrt(np.clip(ball, 0, 1)),
        )
    return depth.astype(np.float32)


def _share(rng: np.random.Generator, grade: int, negative_odds: float) -> float:
    if grade:
        return float(rng.uniform(*FRACTIONS[grade]))
    return float(rng.uniform(*SUBTHRESHOLD)) if rng.random() < negative_odds else 0.0


def _place_in_quadrant(
    rng: np.random.Generator,
    bone: BoneLesions,
    head: Head,
    grade: int,
    half: Half,
    style: LesionStyle,
) -> None:
    inside = half.inside
    if head.lesion is Lesion.EROSION:
        if grade:
            count = int(rng.integers(COUNTS[grade][0], COUNTS[grade][1] + 1))
            pits = _erosions(rng, inside, count, style)
            bone.erosion_mm = np.maximum(bone.erosion_mm, pits)
            bone.erosion_fat[inside] = rng.choice([0.0, 0.3, 1.0], p=[0.55, 0.25, 0.2])
            bone.erosion_filling[inside] = PIT_FILLINGS.index(_one_of(rng, style.pit_fillings))
        return
    share = _share(rng, grade, 0.3 if head.lesion is Lesion.OEDEMA else 0.15)
    if share == 0:
        return
    start, depth = _in_form(rng, half, share, style.forms)
    opacity = rng.uniform(*OPACITIES[head.lesion][grade])
    if grade:
        opacity = max(opacity, style.least_opacity)
    if head.lesion is Lesion.OEDEMA:
        bone.oedema_start_mm = np.maximum(bone.oedema_start_mm, start)
        bone.oedema_mm = np.maximum(bone.oedema_mm, depth)
        bone.oedema_opacity[inside] = opacity
    else:
        bone.fatty_start_mm = np.maximum(bone.fatty_start_mm, start)
        bone.fatty_mm = np.maximum(bone.fatty_mm, depth)
        bone.fatty_opacity[inside] = opacity


def _patches(rng: np.random.Generator, inside: Mask, share: float) -> Map:
    """Opaque patches over `share` of a surface, with soft borders."""
    lumps = gaussian_filter(rng.normal(size=inside.shape), 4.0)
    lumps = lumps / lumps.std()
    edge = np.quantile(lumps[inside], 1 - share) if inside.any() else 9.0
    return np.asarray(np.clip((lumps - edge) * 4 + 0.5, 0, 1), np.float32)


def place_lesions(
    rng: np.random.Generator,
    joint: Joint,
    quadrants: Quadrants,
    severity: dict[Position, int],
    style: LesionStyle = PLAIN.lesions,
) -> JointLesions:
    """Draw the lesions of one joint so that each quadrant has its given grade.

    Parameters
    ----------
    severity
        Berlin grades; the other side is ignored.
    style
        Of the lesions.
    """
    whole = quadrants.of(Region.JOINT)
    found = JointLesions(
        BoneLesions(), BoneLesions(), _flat(), _flat(), rng.uniform(0.45, 0.95), rng.uniform(1.5, 5)
    )
    grades = {head: severity[Position(joint.side, head)] for head in HEADS}
    for head in HEADS:
        if head.region in QUADRANTS:
            inside = quadrants.of(head.region)
            beside = grades[Head(head.lesion, _BESIDE[head.region])]
            room = whole if beside else inside
            bone = found.bank(head.region)
            _place_in_quadrant(rng, bone, head, grades[head], Half(inside, room), style)
    _place_sclerosis(rng, found, whole, severity[_of_joint(joint, Lesion.SCLEROSIS)], style)
    if style.edge_mm is not None:
        found.edge_mm = style.edge_mm
    if style.mechanical:
        _strain(rng, found, whole)
    fused = severity[_of_joint(joint, Lesion.ANKYLOSIS)]
    if fused:
        share = float(rng.uniform(*{1: (0.2, 0.33), 2: (0.34, 0.66), 3: (0.67, 1.0)}[fused]))
        found.ankylosis = _bridging(rng, whole, share, style)
        found.bridge_mm = style.bridge_mm
    if rng.random() < 0.3:
        found.fluid = _patches(rng, whole, rng.uniform(0.1, 0.6)) * rng.uniform(0.3, 1)
    return found


def _bridging(rng: np.random.Generator, whole: Mask, share: float, style: LesionStyle) -> Map:
    form = _one_of(rng, style.bridges)
    if form == "patches" or not whole.any():
        return _patches(rng, whole, share)
    if form == "whole part":
        return _nearest(rng, whole, share).astype(np.float32)
    return _storey(rng, whole, share).astype(np.float32)


def _storey(rng: np.random.Generator, whole: Mask, share: float) -> Mask:
    """The part of a surface between two heights, of the given share."""
    heights = np.broadcast_to(V_MM, whole.shape)[whole]
    lowest = rng.uniform(0, max(1 - share, 0))
    low, high = np.quantile(heights, [lowest, min(lowest + share, 1)])
    return np.asarray(whole & (low <= V_MM[None]) & (V_MM[None] <= high))


def _strain(rng: np.random.Generator, found: JointLesions, whole: Mask) -> None:
    """Mechanical oedema: small, anterior, mostly in bone without other oedema."""
    front = whole & (D_MM[:, None] < rng.uniform(-20, -8))
    for bone in (found.ilium, found.sacrum):
        if not front.any() or bone.oedema_mm.any() or rng.random() < 0.3:
            continue
        spread = _nearest(rng, front, rng.uniform(0.1, 0.5))
        bone.oedema_mm = spread * np.float32(rng.uniform(1.5, 4.5))
        bone.oedema_opacity[spread] = rng.uniform(0.2, 0.8)


GRADED_FROM = 0.04
"""A lesion that fills less of its quadrant is not graded."""


def drawn_grades(
    severity: dict[Position, int], side: Side, lesions: JointLesions, quadrants: Quadrants
) -> dict[Position, int]:
    """Berlin grades of one joint by the drawn lesions, within the imaged volume.

    Parameters
    ----------
    severity
        Intended grades.

    Returns
    -------
    dict
        Grades of this side only.
    """
    return {
        Position(side, head): _drawn_grade(severity[Position(side, head)], head, lesions, quadrants)
        for head in HEADS
    }


def _drawn_grade(meant: int, head: Head, lesions: JointLesions, quadrants: Quadrants) -> int:
    inside = quadrants.of(head.region)
    if not inside.any():
        return 0
    if head.region is Region.JOINT:
        return meant
    bone = lesions.bank(head.region)
    if head.lesion is Lesion.EROSION:
        return meant if bone.erosion_mm[inside].any() else 0
    depth, start = (
        (bone.oedema_mm, bone.oedema_start_mm)
        if head.lesion is Lesion.OEDEMA
        else (bone.fatty_mm, bone.fatty_start_mm)
    )
    share = share_of_zone(depth, inside, start)
    return int(np.searchsorted([GRADED_FROM, 0.33, 0.66], share, side="right"))


def _of_joint(joint: Joint, lesion: Lesion) -> Position:
    return Position(joint.side, Head(lesion, Region.JOINT))


def _place_sclerosis(
    rng: np.random.Generator, found: JointLesions, whole: Mask, grade: int, style: LesionStyle
) -> None:
    """Sclerosis, mostly of the ilium; a rim of under 2 mm is normal and not graded."""
    found.ilium.sclerosis_mm = found.ilium.sclerosis_mm + np.float32(rng.uniform(0, 0.7))
    if not grade:
        return
    both = Half(whole, whole)
    share = rng.uniform(*JOINT_FRACTIONS[grade])
    found.sclerosis_opacity = max(found.sclerosis_opacity, style.least_opacity)
    found.ilium.sclerosis_start_mm, found.ilium.sclerosis_mm = _in_form(
        rng, both, share, style.sclerosis_forms
    )
    if rng.random() < 0.5:
        share = share * rng.uniform(0.2, 0.7)
        found.sacrum.sclerosis_start_mm, found.sacrum.sclerosis_mm = _in_form(
            rng, both, share, style.sclerosis_forms
        )
