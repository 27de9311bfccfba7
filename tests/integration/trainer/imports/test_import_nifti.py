"""Bone masks in TotalSegmentator's layout become contours halfway between the bones."""

import itertools

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from models.case_file import CaseFileInvalid, read_case_file
from models.findings import Side
from trainer.__main__ import app
from trainer.nifti import read_nifti

SLOPE = 0.35
"""The joints converge downwards by this many millimetres sideways for each one of height."""
HALF_MM, GAP_MM = 40.0, 3.0
SHAPE, SPACING_MM = (120, 20, 90), (1.0, 4.0, 1.0)


def across(x, z, side):
    """Distance from the joint's plane, along x, positive on the ilium's side; RAS x is right."""
    sign = 1 if side is Side.LEFT else -1
    return sign * -x - HALF_MM - SLOPE * z


def made(folder, order, flips):
    """An image and three masks in RAS, stored with the axes in any order and direction."""
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = [-60.0, -40.0, -45.0]
    index = np.stack(np.indices(SHAPE), axis=-1)
    x, _, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    inside = np.abs(z) < 30
    parts = {
        "sacrum": inside
        & np.logical_and.reduce([across(x, z, side) < -GAP_MM / 2 for side in Side])
    }
    for side, name in ((Side.LEFT, "hip_left"), (Side.RIGHT, "hip_right")):
        away = across(x, z, side)
        parts[name] = inside & (away > GAP_MM / 2) & (away < 18)
    image = np.random.default_rng(0).normal(100, 10, SHAPE).astype(np.float32)
    folder.mkdir()
    for name, values in {"image": image, **parts}.items():
        stored, place = values.astype(np.float32), affine.copy()
        stored, place = stored.transpose(order), place[:, [*order, 3]]
        for axis, flip in enumerate(flips):
            if flip:
                stored = np.flip(stored, axis)
                place[:, 3] += place[:, axis] * (stored.shape[axis] - 1)
                place[:, axis] *= -1
        nibabel.save(nibabel.Nifti1Image(stored, place), folder / f"{name}.nii.gz")


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3))[::3])
def test_contours_lie_halfway_between_the_bones_on_the_patient_s_sides(tmp_path, order, flips):
    folder = tmp_path / "masks"
    made(folder, order, flips)

    result = CliRunner().invoke(
        app,
        [
            "import-nifti",
            f"T1={folder / 'image.nii.gz'}",
            "--masks",
            str(folder),
            "--out",
            str(tmp_path),
            "--subject",
            "S7",
        ],
    )

    assert result.exit_code == 0, result.output
    (series,) = read_case_file(tmp_path / "S7-1.case.npz").series
    assert len(series.delineation.contours) == 2 * SHAPE[1]
    for contour in series.delineation.contours:
        at = series.volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
        away = across(-at[:, 0], at[:, 2], contour.side)
        assert np.abs(away).max() < 1.5
        assert at[0, 2] > at[-1, 2]
        assert 50 < at[0, 2] - at[-1, 2] < 65


def test_a_mask_on_another_grid_is_refused(tmp_path):
    folder = tmp_path / "masks"
    made(folder, (0, 1, 2), (False,) * 3)
    mask = nibabel.load(folder / "hip_left.nii.gz")
    moved = mask.affine.copy()
    moved[0, 3] += 4
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), moved), folder / "hip_left.nii.gz")

    result = CliRunner().invoke(
        app,
        [
            "import-nifti",
            f"T1={folder / 'image.nii.gz'}",
            "--masks",
            str(folder),
            "--out",
            str(tmp_path),
            "--subject",
            "S7",
        ],
    )

    assert isinstance(result.exception, CaseFileInvalid)
    assert "hip_left" in str(result.exception)


def test_a_file_that_is_no_nifti_is_named(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(b"nothing")

    with pytest.raises(CaseFileInvalid, match=r"image\.nii\.gz"):
        read_nifti(path)


@pytest.mark.parametrize("tilt_deg", [0, 30, 44, 46, 60])
def test_slices_follow_the_file_s_thick_axis_at_any_tilt(tmp_path, tilt_deg):
    cos, sin = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    turn = np.array([[1, 0, 0], [0, -sin, cos], [0, cos, sin]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.6, 0.6, 3.3]
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 41, 7), np.float32), affine), path)

    volume = read_nifti(path)

    assert volume.voxels.shape == (7, 40, 41)
    assert volume.spacing_mm == pytest.approx((3.3, 0.6, 0.6))


def test_the_slice_axis_that_the_header_names_wins_over_the_spacing(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.float32), np.diag([3.0, 1, 1, 1]))
    image.header.set_dim_info(slice=1)
    path = tmp_path / "image.nii.gz"
    nibabel.save(image, path)

    assert read_nifti(path).voxels.shape == (6, 5, 7)
