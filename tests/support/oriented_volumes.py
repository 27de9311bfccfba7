"""Volumes in every orientation with matching contours."""

import numpy as np
from numpy.typing import NDArray

from models.delineation import Contour, Delineation
from models.findings import Side
from models.volume import Volume


def coronal_affine(
    spacing_mm: tuple[float, float, float] = (4.0, 0.8, 0.8),
    tilt_deg: float = 0.0,
    turn_deg: float = 0.0,
    origin_mm: tuple[float, float, float] = (-60.0, -10.0, 50.0),
) -> NDArray[np.float64]:
    """A canonical coronal grid, tilted about the left-right axis, then rotated within its plane."""
    tilt, turn = np.radians([tilt_deg, turn_deg])
    back = np.array([0, np.cos(tilt), np.sin(tilt)])
    feet = np.array([0, np.sin(tilt), -np.cos(tilt)])
    left = np.array([1.0, 0, 0])
    column = np.cos(turn) * left + np.sin(turn) * feet
    row = np.cos(turn) * feet - np.sin(turn) * left
    affine = np.eye(4)
    affine[:3, :3] = np.stack([back, row, column], axis=1) * spacing_mm
    affine[:3, 3] = origin_mm
    return affine


def reordered(volume: Volume, lying: bool, flips: tuple[int, ...]) -> Volume:
    """The same voxels at the same positions, with in-plane axes swapped and axes reversed."""
    voxels, affine = volume.voxels, volume.affine
    if lying:
        voxels, affine = voxels.transpose(0, 2, 1), affine[:, [0, 2, 1, 3]]
    affine = affine.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(np.flip(voxels, flips)), affine)


def two_joints(volume: Volume, slices: range) -> Delineation:
    """Straight joints like "\\\\ /" at x = ±30 mm above and ±22 mm below, 50 mm high."""
    contours = []
    for number in slices:
        rows, columns = (size / 2 for size in volume.voxels.shape[1:])
        centre = volume.to_patient([number, rows, columns])
        for side, sign in ((Side.RIGHT, -1.0), (Side.LEFT, 1.0)):
            share = np.linspace(0, 1, 9)[:, None]
            down, left = _in_plane(volume)
            top = centre + sign * 30 * left - 25 * down
            bottom = centre + sign * 22 * left + 25 * down
            points = volume.to_indices(top + share * (bottom - top))[:, 1:]
            contours.append(Contour(number, side, points, 1.0))
    return Delineation(tuple(contours))


def _in_plane(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In-plane unit vectors closest to inferior and to left."""
    axes = volume.affine[:3, 1:3] / np.linalg.norm(volume.affine[:3, 1:3], axis=0)
    feet, left = axes @ (axes.T @ [0, 0, -1.0]), axes @ (axes.T @ [1.0, 0, 0])
    return feet / np.linalg.norm(feet), left / np.linalg.norm(left)
