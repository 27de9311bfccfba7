"""Paints a pelvis: the signed signal at each point of an image plane.

Tissues are blended in layers, each with an opacity that rises over about a millimetre at its
border. Signals stay signed; the scanner takes the modulus.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Side
from trainer.phantom.anatomy import Blob, Foramen, Grid, Joint, Pelvis
from trainer.phantom.lesion_maps import D_MM, V_MM, BoneLesions, JointLesions, Map
from trainer.phantom.style import PIT_FILLINGS, Look

Picture = NDArray[np.inexact[Any]]
Signals = Mapping[str, complex]
"""Signed signal of every tissue; complex if fat is separate: water real, fat imaginary."""

_BEFORE_BONE = ("bowel", "gas", "fluid", "vessel")


@dataclass(frozen=True, eq=False)
class SamplePlane:
    """Points on part of an image plane in the pelvis frame, with texture."""

    x: Grid
    d: Grid
    v: Grid
    coarse: Grid
    fine: Grid

    def cut(self, box: tuple[slice, slice]) -> "SamplePlane":
        """A rectangle of the plane."""
        return SamplePlane(self.x[box], self.d[box], self.v[box], self.coarse[box], self.fine[box])

    def moved(self, by: NDArray[np.float32]) -> "SamplePlane":
        """The same rectangle shifted by millimetres (x, d, v)."""
        return SamplePlane(self.x + by[0], self.d + by[1], self.v + by[2], self.coarse, self.fine)


def ramp(inside_mm: Grid, width_mm: float) -> Grid:
    """Opacity of a tissue from the signed distance to its border, positive inside."""
    opacity: Grid = np.clip(inside_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)
    return opacity


def blend(image: Picture, value: Picture | complex, opacity: Grid | float) -> None:
    """Blend `value` into `image`, in place."""
    np.add(image, opacity * (value - image), out=image)


def _step(at: Grid) -> Grid:
    at = np.clip(at, 0, 1)
    return at * at * (3 - 2 * at)


@dataclass(frozen=True, eq=False)
class BoneDistances:
    """Signed distances of a joint's two bones on a plane, positive inside the bone."""

    across: Grid
    outside_cartilage: Grid
    ilium_gap: Grid
    sacrum_gap: Grid
    ilium: Grid
    sacrum: Grid
    front: Grid

    def cut(self, box: tuple[slice, slice]) -> "BoneDistances":
        """A rectangle of the distances."""
        return BoneDistances(*(getattr(self, each.name)[box] for each in fields(self)))


@dataclass(frozen=True, eq=False)
class Layer:
    """A lesion of one tissue on one bone, as maps over the joint's surface."""

    tissue: str
    start_mm: Map
    depth_mm: Map
    opacity: Map | float
    edge_mm: float


@dataclass(frozen=True, eq=False)
class Surface:
    """Points of a plane relative to one bone's surface."""

    at: tuple[NDArray[np.intp], NDArray[np.intp]]
    below: Grid
    mine: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Painter:
    """Paints one patient for one sequence.

    Parameters
    ----------
    signals
        Signed signal of every tissue.
    edge_mm
        Blur width of borders, about one pixel.
    with_joints
        False to paint soft tissue only.
    look
        Omitted tissues and body outline.
    """

    pelvis: Pelvis
    lesions: dict[Side, JointLesions]
    signals: Signals
    edge_mm: float
    with_joints: bool = True
    look: Look = field(default_factory=Look)

    @cached_property
    def _soft_blobs(self) -> tuple[Blob, ...]:
        return tuple(b for b in self.pelvis.blobs if b.tissue in _BEFORE_BONE)

    @cached_property
    def _marrow_blobs(self) -> tuple[Blob, ...]:
        return tuple(b for b in self.pelvis.blobs if b.tissue not in _BEFORE_BONE)

    def paint(self, plane: SamplePlane, side: Side) -> tuple[Picture, BoneDistances]:
        """Signal on one half of an image plane, and the bone distances."""
        banks = self._banks(plane, self.pelvis.joints[side])
        body = self._body(plane)
        image = self._soft_tissue(plane, self.pelvis.joints[side], banks.front, body)
        if self.with_joints:
            self._bones(image, plane, side, banks)
        image *= ramp(body, self.edge_mm)
        return image, banks

    def _body(self, plane: SamplePlane) -> Grid:
        pelvis = self.pelvis
        tilt = pelvis.sacral_tilt_rad
        y = np.float32(np.cos(tilt)) * plane.d - np.float32(np.sin(tilt)) * plane.v
        wide, deep = pelvis.body_half_width_mm, pelvis.body_half_depth_mm
        outline = self.look.body
        if outline == "none":
            return np.full_like(plane.x, 1e3)
        if outline == "ellipse":
            flat: Grid = (1 - np.hypot(plane.x / wide, (plane.v + 10) / deep)) * np.float32(deep)
            return flat
        if outline == "box":
            walls: Grid = np.minimum(0.85 * wide - np.abs(plane.x), deep - np.abs(plane.v + 10))
            return walls
        centre = pelvis.back_mm - deep
        radius2 = (plane.x / wide) ** 2 + np.square(np.square((y - centre) / deep))
        inside: Grid = (1 - np.sqrt(radius2)) * np.float32(min(wide, deep))
        return inside

    def _soft_tissue(self, plane: SamplePlane, joint: Joint, front: Grid, body: Grid) -> Picture:
        signals, look = self.signals, self.look
        image = self._flat(plane, "muscle")
        image *= 1 + np.float32(0.08) * plane.fine
        if look.seams:
            self._seams(image, plane, joint)
        if look.cavity_fat:
            cavity = np.minimum(front - plane.d - 4, 62 - np.abs(plane.x) + 12 * plane.coarse)
            pale = 0.62 + 0.3 * np.clip(plane.coarse + 0.12 * plane.fine, -1, 1)
            blend(image, signals["fat"], pale * ramp(cavity, 3))
        self._blobs(image, plane, self._soft_blobs)
        if look.cavity_fat:
            notch2 = ((joint.sign * plane.x - 44) / 17) ** 2 + ((plane.v + 54) / 21) ** 2
            notch = np.minimum(14 * (1 - np.sqrt(notch2)), plane.d + 8) + 14 * plane.coarse
            blend(image, signals["fat"], self.pelvis.notch_fat * ramp(notch, 5))
        skin = ramp(self.pelvis.skin_fat_mm + 6 * plane.coarse - body, self.edge_mm)
        blend(image, signals["fat"] * (1 - 0.05 * np.abs(plane.fine)), skin)
        return image

    def _flat(self, plane: SamplePlane, tissue: str) -> Picture:
        value = self.signals[tissue]
        kind = np.complex64 if isinstance(value, complex) else plane.x.dtype
        return np.full(plane.x.shape, value, kind)

    def _seams(self, image: Picture, plane: SamplePlane, joint: Joint) -> None:
        """Fat planes between muscles."""
        pelvis = self.pelvis
        lamella = 0.6 * plane.v + joint.sign * 0.8 * plane.x + 0.25 * plane.d + 14 * plane.coarse
        seam = 9 * np.abs(np.sin(lamella / pelvis.lamella_mm)) + 6 * np.abs(plane.coarse)
        seam = seam + 0.4 * plane.fine
        leanness = 0.35 + 0.5 * pelvis.muscle_fat
        strength = 0.35 + 0.5 * pelvis.muscle_fat
        blend(image, self.signals["fat"], strength * ramp(leanness - seam, 1.6))

    def _front(self, plane: SamplePlane) -> Grid:
        """Depth of the anterior surface of the sacrum, which recedes downwards."""
        pelvis = self.pelvis
        lower = _step((15 - plane.v) / 60)
        promontory = 6 * np.clip(1 - (plane.x / 40) ** 2, 0, 1)
        front: Grid = pelvis.sacrum_front_mm + 25 * lower - promontory
        return front

    def _banks(self, plane: SamplePlane, joint: Joint) -> BoneDistances:
        pelvis, d, v = self.pelvis, plane.d, plane.v
        ripple = joint.ripple(d, v)
        smooth = (joint.sign * plane.x - joint.smooth_distance(d, v)) * joint.steepness
        across = smooth - ripple * joint.steepness
        front = self._front(plane)
        outside = joint.outside_cartilage(d, v)
        beyond = np.maximum(outside, 0)
        half = joint.space_mm / 2
        met = pelvis.parting * (1 - (joint.accessory.at(d, v) if joint.accessory else 0.0))
        ilium_gap = half + met * np.minimum(0.55 * beyond, 30)
        sacrum_gap = half + met * np.minimum(0.3 * beyond, 7)
        thick = pelvis.ilium_thickness_mm * (1 - 0.45 * _step((v - 5) / 60))
        floor = -40 - 60 * _step((-16 - d) / 24)
        outer = ilium_gap * 0.9 + thick + 3 * plane.coarse - smooth
        ilium = np.minimum(across - ilium_gap, outer)
        floor = floor + pelvis.ilium_floor_mm + 5 * plane.coarse + 4 * ((across - 12) / 12) ** 2
        ilium = np.minimum(np.minimum(ilium, v - floor), pelvis.crest_mm + 5 * plane.coarse - v)
        ilium = np.minimum(ilium, 2.5 * (40 - d))
        back = pelvis.sacrum_back_mm - 12 * ((v + 20) / 45) ** 2
        sacrum = np.minimum(-across - sacrum_gap, 2.5 * (d - front))
        sacrum = np.minimum(sacrum, 2.5 * (np.maximum(back, -6 - 0.1 * v) - d))
        sacrum = np.minimum(
            sacrum, pelvis.endplate_mm + 4 * (plane.x / 45) ** 2 - 3 - v - 3 * plane.coarse
        )
        if pelvis.sacrum_tip_mm is not None:
            sacrum = np.minimum(sacrum, v - pelvis.sacrum_tip_mm)
        return BoneDistances(across, outside, ilium_gap, sacrum_gap, ilium, sacrum, front)

    def _marrow(self, plane: SamplePlane) -> Picture:
        """Textured marrow between its red and yellow extremes."""
        uneven = self.pelvis.marrow_unevenness
        cloud = np.clip(
            self.pelvis.marrow_fattiness + uneven * (1.1 * plane.coarse + 0.28 * plane.fine), 0, 1
        )
        red, yellow = self.signals["red marrow"], self.signals["yellow marrow"]
        marrow: Picture = (red + (yellow - red) * cloud) * (1 + np.float32(0.05) * plane.fine)
        return marrow

    def _bones(self, image: Picture, plane: SamplePlane, side: Side, banks: BoneDistances) -> None:
        joint, edge = self.pelvis.joints[side], self.edge_mm
        marrow = self._marrow(plane)
        self._blobs(marrow, plane, self._marrow_blobs)
        if self.look.lumbar:
            self._lumbar(image, marrow, plane)
        if self.look.hip:
            self._hip(image, marrow, plane, joint)
        if self.look.ligaments:
            self._between_bones(image, plane, banks)
        box = joint_box(banks)
        if box is not None:
            self._marrow_lesions(marrow[box], banks.cut(box), plane.cut(box), joint)
        for bone in (banks.ilium, banks.sacrum):
            blend(image, self.signals["cortex"], ramp(bone, edge))
            blend(image, marrow, ramp(bone - joint.cortex_mm, edge))
        near = _columns_within(plane, 42)
        if near is not None:
            self._openings(image[near], plane.cut(near), banks.cut(near), side)
        if box is not None:
            self._joint_space(image[box], marrow[box], banks.cut(box), plane.cut(box), joint)

    def _lumbar(self, image: Picture, marrow: Picture, plane: SamplePlane) -> None:
        above = plane.v - self.pelvis.endplate_mm
        waist = 25 + 4 * ((above - 24) / 16) ** 2 + 2 * plane.coarse
        column = np.minimum(waist - np.abs(plane.x), 20 - np.abs(plane.d + 30))
        blend(image, self.signals["disc"], ramp(np.minimum(column, above), 2) * (above < 12))
        bulge = 2 * (plane.x / 25) ** 2
        body = np.minimum(np.minimum(column, above - 7 - bulge), 42 + bulge - above)
        blend(image, self.signals["cortex"], ramp(body, self.edge_mm))
        blend(image, marrow, ramp(body - 1, self.edge_mm))

    def _hip(self, image: Picture, marrow: Picture, plane: SamplePlane, joint: Joint) -> None:
        x = joint.sign * plane.x - 88
        centre = np.sqrt(x**2 + (plane.d + 62) ** 2 + (plane.v + 84) ** 2)
        blend(image, marrow, ramp(34 - centre, 1.5))
        blend(image, self.signals["cortex"], ramp(27 - centre, self.edge_mm))
        blend(image, self.signals["cartilage"], ramp(25.6 - centre, self.edge_mm))
        blend(image, self.signals["yellow marrow"], ramp(22.5 - centre, self.edge_mm))

    def _between_bones(self, image: Picture, plane: SamplePlane, banks: BoneDistances) -> None:
        """Fat and ligaments between the diverging bones behind and above the cartilage."""
        between = np.minimum(banks.ilium_gap - banks.across, banks.across + banks.sacrum_gap)
        behind = _step((plane.d + 16) / 12) * _step((plane.v + 26) / 12)
        behind = behind * _step((62 + 20 * plane.coarse - plane.v) / 24)
        mixed = np.clip(0.5 + 0.8 * plane.coarse + 0.2 * plane.fine, 0, 1)
        fat, ligament = self.signals["fat"], self.signals["ligament"]
        blend(image, ligament + (fat - ligament) * mixed, ramp(between, 1.5) * behind)

    def _openings(
        self, image: Picture, plane: SamplePlane, banks: BoneDistances, side: Side
    ) -> None:
        """The sacral canal with fluid, the foramina, and a disc remnant."""
        wide, deep, at = self.pelvis.canal_mm
        narrow = np.clip(1 - 0.008 * (30 - plane.v), 0.35, 1)
        canal = 1 - np.sqrt((plane.x / (wide * narrow)) ** 2 + ((plane.d - at) / deep) ** 2)
        canal = np.minimum(canal * deep, plane.v + 45)
        if self.look.canal:
            blend(image, self.signals["fat"], ramp(canal, self.edge_mm))
            inner = np.minimum(canal - 1.5, plane.v + 2)
            blend(
                image, self.signals["fluid"] * (0.8 + 0.1 * plane.fine), ramp(inner, self.edge_mm)
            )
        within = banks.sacrum + 2.5
        for foramen in self.pelvis.foramina:
            if foramen.side is side:
                self._foramen(image, plane, within, foramen)
        if not self.look.remnant:
            return
        remnant = 0.8 - np.abs(plane.v - 4 + 0.3 * plane.d - 2 * plane.coarse)
        remnant = np.minimum(remnant, 16 - np.abs(plane.x))
        remnant = np.minimum(remnant, np.minimum(8 - plane.d, plane.d - banks.front))
        blend(image, self.signals["disc"] * 0.8, 0.6 * ramp(remnant, 1.5))

    def _foramen(self, image: Picture, plane: SamplePlane, within: Grid, foramen: Foramen) -> None:
        across = np.abs(plane.x) - foramen.x_mm + 3 * plane.coarse
        along = plane.v - foramen.v_mm - foramen.slant * plane.d
        away = np.sqrt(0.7 * across**2 + along**2) + 1.5 * plane.coarse
        tunnel = np.minimum(foramen.radius_mm - away, within)
        blend(image, self.signals["fat"], ramp(tunnel, 1.5))
        blend(
            image, self.signals["muscle"] * 1.15, 0.8 * ramp(tunnel - 0.5 * foramen.radius_mm, 1.8)
        )

    def _marrow_lesions(
        self, marrow: Picture, banks: BoneDistances, plane: SamplePlane, joint: Joint
    ) -> None:
        """Fatty lesion, oedema, then sclerosis, each to the depth of its map."""
        lesions = self.lesions[joint.side]
        at = _surface_index(plane)
        for bone, below in (
            (lesions.ilium, banks.across - banks.ilium_gap),
            (lesions.sacrum, -banks.across - banks.sacrum_gap),
        ):
            ragged = below + 0.8 * plane.fine + 3 * plane.coarse - 0.5 * joint.cortex_mm
            mine = below > -joint.space_mm / 2
            where = Surface(at, ragged, mine)
            edge = lesions.edge_mm
            for layer in (
                Layer("fatty lesion", bone.fatty_start_mm, bone.fatty_mm, bone.fatty_opacity, edge),
                Layer(
                    "oedema",
                    bone.oedema_start_mm,
                    bone.oedema_mm,
                    0.85 * bone.oedema_opacity,
                    1.5 * edge,
                ),
                Layer(
                    "sclerosis",
                    bone.sclerosis_start_mm,
                    bone.sclerosis_mm,
                    lesions.sclerosis_opacity,
                    edge,
                ),
            ):
                self._blend_layer(marrow, layer, where)

    def _blend_layer(self, marrow: Picture, lesion: Layer, where: Surface) -> None:
        if not lesion.depth_mm.any():
            return
        reach = lesion.depth_mm[where.at]
        strength = lesion.opacity if isinstance(lesion.opacity, float) else lesion.opacity[where.at]
        there = ramp(reach - where.below, lesion.edge_mm) * (reach > 0.3) * where.mine
        if lesion.start_mm.any():
            start = lesion.start_mm[where.at]
            there = there * np.where(start > 0, ramp(where.below - start, lesion.edge_mm), 1)
        blend(marrow, self.signals[lesion.tissue], there * strength)

    def _joint_space(
        self,
        image: Picture,
        marrow: Picture,
        banks: BoneDistances,
        plane: SamplePlane,
        joint: Joint,
    ) -> None:
        """Cartilage, fluid, erosions of the cortex, and bony bridges."""
        lesions, edge, signals = self.lesions[joint.side], self.edge_mm, self.signals
        at = _surface_index(plane)
        half = joint.space_mm / 2
        inside = ramp(-banks.outside_cartilage, 2)
        content: Picture | complex = signals["cartilage"]
        if lesions.fluid.any():
            content = content + lesions.fluid[at] * (signals["fluid"] - content)
        blend(image, content, ramp(half - np.abs(banks.across), edge) * inside)
        for bone, below in (
            (lesions.ilium, banks.across - half),
            (lesions.sacrum, -banks.across - half),
        ):
            self._erosions(image, bone, below, at, inside)
        if lesions.ankylosis.any():
            bridged = ramp(half + joint.cortex_mm + lesions.bridge_mm - np.abs(banks.across), 1.2)
            blend(image, marrow, bridged * lesions.ankylosis[at] * inside)

    def _erosions(
        self,
        image: Picture,
        bone: BoneLesions,
        below: Grid,
        at: tuple[NDArray[np.intp], NDArray[np.intp]],
        inside: Grid,
    ) -> None:
        if not bone.erosion_mm.any():
            return
        depth, backfill = bone.erosion_mm[at], bone.erosion_fat[at]
        pit = (depth > 0.4) * inside * ramp(below + 0.5, 1.0)
        rim = ramp(depth + 1.1 - below, self.edge_mm) * pit
        blend(image, self.signals["cortex"], rim * backfill)
        soft = np.array([self.signals[tissue] for tissue in PIT_FILLINGS], image.dtype)
        soft, fat = soft[bone.erosion_filling[at]], self.signals["fatty lesion"]
        filling = soft + (fat - soft) * backfill
        blend(image, filling, ramp(depth - below, self.edge_mm) * pit)

    def _blobs(self, image: Picture, plane: SamplePlane, blobs: tuple[Blob, ...]) -> None:
        low = [float(axis.min()) for axis in (plane.x, plane.d, plane.v)]
        high = [float(axis.max()) for axis in (plane.x, plane.d, plane.v)]
        for blob in blobs:
            if any(
                c + r < a or c - r > b
                for c, r, a, b in zip(blob.centre, blob.radii, low, high, strict=True)
            ):
                continue
            self._blob(image, plane, blob)

    def _blob(self, image: Picture, plane: SamplePlane, blob: Blob) -> None:
        box = _blob_box(plane, blob)
        if box is None:
            return
        x, d, v = plane.x[box], plane.d[box], plane.v[box]
        (cx, cd, cv), (rx, rd, rv) = blob.centre, blob.radii
        radius = np.sqrt(((x - cx) / rx) ** 2 + ((d - cd) / rd) ** 2 + ((v - cv) / rv) ** 2)
        inside = (1 - radius) * np.float32(min(blob.radii)) + 0.6 * plane.fine[box]
        blend(image[box], self.signals[blob.tissue], blob.opacity * ramp(inside, 1.5))


def _blob_box(plane: SamplePlane, blob: Blob) -> tuple[slice, slice] | None:
    """Rows and columns that a blob can reach; rows run along v and columns along x, nearly."""
    margin = 4.0
    rows = np.flatnonzero(
        (plane.v.max(axis=1) > blob.centre[2] - blob.radii[2] - margin)
        & (plane.v.min(axis=1) < blob.centre[2] + blob.radii[2] + margin)
    )
    columns = np.flatnonzero(
        (plane.x.max(axis=0) > blob.centre[0] - blob.radii[0] - margin)
        & (plane.x.min(axis=0) < blob.centre[0] + blob.radii[0] + margin)
    )
    if not len(rows) or not len(columns):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _columns_within(plane: SamplePlane, reach_mm: float) -> tuple[slice, slice] | None:
    columns = np.flatnonzero(np.abs(plane.x).min(axis=0) < reach_mm)
    if not len(columns):
        return None
    return slice(None), slice(int(columns[0]), int(columns[-1]) + 1)


def joint_box(banks: BoneDistances) -> tuple[slice, slice] | None:
    """The rectangle around cartilage and adjacent bone, where lesions can be."""
    near = (banks.outside_cartilage < 8) & (np.abs(banks.across) < 26)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _surface_index(plane: SamplePlane) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the points of a plane in a joint's surface map."""
    d = np.clip(np.rint(plane.d - D_MM[0]), 0, len(D_MM) - 1).astype(np.intp)
    v = np.clip(np.rint(plane.v - V_MM[0]), 0, len(V_MM) - 1).astype(np.intp)
    return d, v
