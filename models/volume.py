"""A volume: voxels on a regular grid, and the position of that grid in the patient.

Axes are always ``(slice, row, column)``. Positions are always millimetres in the DICOM patient
coordinate system (LPS). Only the affine relates the two.

Source: DICOM PS3.3 C.7.6.2.1.1, Equation C.7.6.2.1-1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their position in the patient.

    Parameters
    ----------
    voxels
        Intensities, float32, shape ``(slices, rows, columns)``.
    affine
        Maps homogeneous voxel indices ``(slice, row, column, 1)``, index-centred, to
        ``(x, y, z, 1)`` in LPS millimetres; shape ``(4, 4)``.

    Raises
    ------
    ValueError
        If a shape is wrong, a value is not finite, or the grid is degenerate.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or 0 in self.voxels.shape:
            raise ValueError(f"voxels need three non-empty axes, got shape {self.voxels.shape}")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("the affine must be a finite 4×4 matrix")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise ValueError("the affine is singular")
        if not np.isfinite(self.voxels).all():
            raise ValueError("voxels must be finite")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (slice, row, column), in mm."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    def to_patient(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Positions of voxel indices in the patient.

        Parameters
        ----------
        indices
            ``(…, 3)`` as (slice, row, column); fractions allowed, voxel centres are integers.

        Returns
        -------
        NDArray
            LPS millimetres, shape ``(…, 3)``.
        """
        at = np.asarray(indices, dtype=np.float64)
        return np.asarray(at @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_indices(self, positions_mm: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (slice, row, column) of LPS positions; the inverse of `to_patient`."""
        at = np.asarray(positions_mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(
            np.linalg.solve(self.affine[:3, :3], at.reshape(-1, 3).T).T.reshape(at.shape)
        )
