"""The true location of each drawn lesion, to evaluate a network's localisation.

A lesion is a map of depths over the joint's surface; here it is converted to points in the
patient. The texture of its border (about 1 mm) is ignored.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import QUADRANTS, Head, Lesion, Position, Region, Sequence
from trainer.phantom.anatomy import Joint
from trainer.phantom.case import PhantomPatient
from trainer.phantom.lesion_maps import D_MM, V_MM, BoneLesions, JointLesions, Map, is_iliac
from trainer.phantom.scan_plan import PatientPose

STEP_MM = 1.0
"""Distance between points."""
LEAST_POINTS = 10
"""Fewest points (mm³) on a slice that shows the lesion."""
LEAST_DEPTH_MM = 0.3
"""Smallest depth that is painted."""
LEAST_BRIDGE = 0.5
"""Opacity above which a bony bridge counts as drawn."""
BRIDGE_MM = 0.6
"""Extent of a bridge beyond the cortex."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnLesion:
    """A lesion in one sequence.

    Parameters
    ----------
    points_mm
        LPS, about a millimetre apart, ``(n, 3)``.
    slices
        Indices of the slices that contain more than a sliver of it.
    """

    points_mm: _Floats
    slices: frozenset[int]

    def distance_mm(self, place_mm: _Floats) -> float:
        """Distance of an LPS position ``(3,)`` to the lesion; infinite if nothing was drawn."""
        return float(np.linalg.norm(self.points_mm - place_mm, axis=1).min(initial=np.inf))

    def slices_off(self, slice_index: int) -> float:
        """Distance to the nearest slice that shows the lesion; infinite if none does."""
        return float(min((abs(slice_index - one) for one in self.slices), default=np.inf))


def drawn_lesion(patient: PhantomPatient, position: Position, sequence: Sequence) -> DrawnLesion:
    """The drawn lesion at a position, including lesions too small to be graded.

    Parameters
    ----------
    position
        Of the lesion.
    sequence
        Determines slices and patient pose.

    Returns
    -------
    DrawnLesion
        Without points if nothing was drawn.
    """
    view = patient.t1 if sequence is Sequence.T1 else patient.stir
    joint, ill = patient.pelvis.joints[position.side], patient.lesions[position.side]
    inside = patient.quadrants[position.side].of(position.head.region)
    if position.head.lesion is Lesion.ANKYLOSIS:
        points = _bridges(joint, ill)
    else:
        banks = QUADRANTS[::2] if position.head.region is Region.JOINT else (position.head.region,)
        points = np.concatenate(
            [
                _in_bone(joint, ill.bank(bank), inside, Head(position.head.lesion, bank))
                for bank in banks
            ]
        )
    places = view.pose.to_patient(points)
    return DrawnLesion(places, _slices_of(places, view))


def _reach(bone: BoneLesions, lesion: Lesion) -> tuple[Map, Map]:
    """Start and depth."""
    return {
        Lesion.OEDEMA: (bone.oedema_start_mm, bone.oedema_mm),
        Lesion.EROSION: (np.zeros_like(bone.erosion_mm), bone.erosion_mm),
        Lesion.FATTY_LESION: (bone.fatty_start_mm, bone.fatty_mm),
        Lesion.SCLEROSIS: (bone.sclerosis_start_mm, bone.sclerosis_mm),
    }[lesion]


def _in_bone(joint: Joint, bone: BoneLesions, inside: NDArray[np.bool_], head: Head) -> _Floats:
    """Points in the pelvis frame from a bone's surface or cortex to the depth of a lesion.

    Only erosions are visible within the cortex; other lesions begin in its middle.
    """
    start_mm, depth_mm = (each * inside for each in _reach(bone, head.lesion))
    hidden_mm = 0.0 if head.lesion is Lesion.EROSION else joint.cortex_mm
    layers = np.arange(hidden_mm, depth_mm.max() + hidden_mm + STEP_MM, STEP_MM)
    reach_mm = np.where(depth_mm > LEAST_DEPTH_MM, depth_mm + hidden_mm / 2, -1.0)
    shown = (reach_mm[..., None] >= layers) & (layers >= start_mm[..., None])
    row, column, layer = np.nonzero(shown)
    across = joint.space_mm / 2 + layers[layer]
    return _at(joint, D_MM[row], V_MM[column], across if is_iliac(head.region) else -across)


def _bridges(joint: Joint, ill: JointLesions) -> _Floats:
    """Points in the pelvis frame of bony bridges between both bones."""
    half = joint.space_mm / 2 + joint.cortex_mm + BRIDGE_MM
    layers = np.linspace(-half, half, 2 * int(np.ceil(half / STEP_MM)) + 1)
    cartilage = joint.outside_cartilage(*np.meshgrid(D_MM, V_MM, indexing="ij")) < 0
    row, column = np.nonzero((ill.ankylosis > LEAST_BRIDGE) & cartilage)
    across = np.repeat(layers, len(row))
    row, column = np.tile(row, len(layers)), np.tile(column, len(layers))
    return _at(joint, D_MM[row], V_MM[column], across)


def _at(joint: Joint, d: Map, v: Map, across_mm: _Floats) -> _Floats:
    """Points at these distances from the midsurface, positive towards the ilium."""
    depth, height = d.astype(np.float64), v.astype(np.float64)
    lateral = joint.distance_from_midline(depth, height) + across_mm / joint.steepness
    return np.stack([joint.sign * lateral, depth, height], axis=-1)


def _slices_of(places_mm: _Floats, view: PatientPose) -> frozenset[int]:
    depth = (places_mm - view.slab.centre_mm) @ view.slab.axes[:, 0]
    away = np.abs(depth[:, None] - view.slab.offsets_mm())
    held = (away <= view.slab.thickness_mm / 2).sum(axis=0)
    return frozenset(np.flatnonzero(held >= LEAST_POINTS).tolist())
