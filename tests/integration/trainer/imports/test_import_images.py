"""NIfTI and NRRD images with masks, curves and readings become cases."""

import itertools
import json
import re

import nibabel
import nrrd
import numpy as np
import pytest
from typer.testing import CliRunner

from models.case_file import CaseFileInvalid, read_case_file
from models.findings import Side
from trainer.__main__ import app
from trainer.nifti import read_nifti
from trainer.nrrd_images import read_nrrd

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


def imported(masks, out):
    """The import of the image in a folder of masks, as subject S7."""
    image = f"T1={masks / 'image.nii.gz'}"
    options = ("--masks", str(masks), "--out", str(out), "--subject", "S7")
    return CliRunner().invoke(app, ["import-images", image, *options])


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3))[::3])
def test_contours_lie_halfway_between_the_bones_on_the_patient_s_sides(tmp_path, order, flips):
    folder = tmp_path / "masks"
    made(folder, order, flips)

    result = imported(folder, tmp_path)

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

    result = imported(folder, tmp_path)

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


def convert(*words):
    return CliRunner().invoke(app, ["import-images", *map(str, words)])


def as_nrrd(path, image):
    """A NIfTI image in the folder of the masks, again as NRRD in RAS with two halves of a pair."""
    affine = np.asarray(image.affine)
    header = {
        "space": "right-anterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
    }
    nrrd.write(str(path), np.asarray(image.dataobj), header)


@pytest.fixture
def bones(tmp_path):
    made(tmp_path / "masks", (0, 1, 2), (False,) * 3)
    return tmp_path / "masks"


def lines_of(case_file, kind="T1"):
    series = read_case_file(case_file).of_kind(kind)
    return [
        (one.side, series.volume.to_patient(np.insert(one.points, 0, one.slice_index, axis=1)))
        for one in series.delineation.contours
    ]


def test_an_nrrd_image_lies_where_its_nifti_twin_does(bones, tmp_path):
    as_nrrd(tmp_path / "image.nrrd", nibabel.load(bones / "image.nii.gz"))

    one, other = read_nrrd(tmp_path / "image.nrrd"), read_nifti(bones / "image.nii.gz")

    np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
    np.testing.assert_array_equal(one.voxels, other.voxels)


def test_segments_of_3d_slicer_become_lines_on_the_patient_s_sides(bones, tmp_path):
    image = nibabel.load(bones / "image.nii.gz")
    labels = np.zeros(SHAPE, np.uint8)
    index = np.stack(np.indices(SHAPE), axis=-1)
    x, _, z = np.moveaxis(index @ image.affine[:3, :3].T + image.affine[:3, 3], -1, 0)
    for number, side in enumerate((Side.LEFT, Side.RIGHT), 1):
        labels[(np.abs(across(x, z, side)) < 2) & (np.abs(z) < 30)] = number
    header = {
        "space": "right-anterior-superior",
        "space directions": image.affine[:3, :3].T,
        "space origin": image.affine[:3, 3],
        "Segment0_Name": "SIJ left",
        "Segment0_LabelValue": "1",
        "Segment1_Name": "SIJ right",
        "Segment1_LabelValue": "2",
    }
    nrrd.write(str(tmp_path / "joints.seg.nrrd"), labels, header)

    result = convert(
        f"T1={bones / 'image.nii.gz'}", "--masks", tmp_path / "joints.seg.nrrd",
        "--out", tmp_path, "--subject", "S7",
    )  # fmt: skip

    assert result.exit_code == 0, (result.output, result.exception)
    lines = lines_of(tmp_path / "S7-1.case.npz")
    assert len(lines) == 2 * SHAPE[1]
    for side, at in lines:
        assert np.abs(across(-at[:, 0], at[:, 2], side)).max() < 1.0


def curve_file(folder, side, y=-40.0):
    """A curve of 3D Slicer along a joint's plane, in RAS, on the slice at y."""
    sign = 1 if side is Side.LEFT else -1
    heights = [25.0, 0.0, -25.0]
    points = [[-sign * (HALF_MM + SLOPE * z), y, z] for z in heights]
    markup = {
        "type": "Curve",
        "coordinateSystem": "RAS",
        "controlPoints": [{"label": "", "position": point} for point in points],
    }
    path = folder / f"{side}_1.mrk.json"
    path.write_text(json.dumps({"markups": [markup]}))
    return path


def test_curves_and_readings_become_a_case(bones, tmp_path):
    table = tmp_path / "readings.csv"
    table.write_text(
        "patient,visit,reader,session,side,region,lesion,score\nS7,1,A,1,L,iliac upper,edema,1.0\n"
    )
    words = [word for side in Side for word in ("--curves", f"T1={curve_file(tmp_path, side)}")]

    result = convert(
        f"T1={bones / 'image.nii.gz'}", *words, "--readings", table,
        "--out", tmp_path, "--subject", "S7",
    )  # fmt: skip

    assert result.exit_code == 0, (result.output, result.exception)
    lines = lines_of(tmp_path / "S7-1.case.npz")
    assert {side for side, _ in lines} == set(Side)
    for side, at in lines:
        assert np.abs(across(-at[:, 0], at[:, 2], side)).max() < 0.1
        assert at[0, 2] > at[-1, 2]
    (reading,) = read_case_file(tmp_path / "S7-1.case.npz").readings
    assert list(map(str, reading.grades)) == ["left upper ilium oedema"]


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("curve_1", -40.0, "has a curve without a side"),
        ("left_1", -38.0, r"up to 2\.0 mm away"),
        ("left_1", -99.0, "does not lie on one slice"),
    ],
)
def test_a_curve_that_cannot_be_placed_is_refused_by_its_file(bones, tmp_path, name, y, message):
    path = curve_file(tmp_path, Side.LEFT, y).rename(tmp_path / f"{name}.mrk.json")

    result = convert(
        f"T1={bones / 'image.nii.gz'}", "--curves", f"T1={path}",
        "--out", tmp_path, "--subject", "S7",
    )  # fmt: skip

    assert isinstance(result.exception, CaseFileInvalid)
    assert re.search(rf"{name}\.mrk\.json .*{message}", str(result.exception))


def test_masks_of_one_image_serve_another_with_a_different_grid(bones, tmp_path):
    image = nibabel.load(bones / "image.nii.gz")
    coarse = np.diag([2.0, 4.0, 2.0, 1.0])
    coarse[:3, 3] = image.affine[:3, 3]
    stir = nibabel.Nifti1Image(np.asarray(image.dataobj)[::2, :, ::2], coarse)
    nibabel.save(stir, tmp_path / "stir.nii.gz")

    result = convert(
        f"T1={bones / 'image.nii.gz'}", f"STIR={tmp_path / 'stir.nii.gz'}", "--masks", bones,
        "--out", tmp_path, "--subject", "S7",
    )  # fmt: skip

    assert result.exit_code == 0, (result.output, result.exception)
    for side, at in lines_of(tmp_path / "S7-1.case.npz", "STIR"):
        assert np.abs(across(-at[:, 0], at[:, 2], side)).max() < 2.5


def test_a_study_without_contours_and_readings_is_refused(bones, tmp_path):
    result = convert(f"T1={bones / 'image.nii.gz'}", "--out", tmp_path, "--subject", "S7")

    assert "has neither contours nor readings" in str(result.exception)


def test_many_visits_are_converted_by_one_table(bones, tmp_path):
    rows = [
        "subject,visit,images,masks,curves,readings",
        "S1,1,T1=masks/image.nii.gz,masks,,",
        "S2,1,T1=masks/none.nii.gz,masks,,",
        "S3,one,T1=masks/image.nii.gz,masks,,",
        "S4,1,T1=masks/image.nii.gz,masks,,",
    ]
    (tmp_path / "visits.csv").write_text("\n".join(rows))

    result = CliRunner().invoke(
        app, ["import-manifest", str(tmp_path / "visits.csv"), "--out", str(tmp_path / "cases")]
    )

    files = sorted(path.name for path in (tmp_path / "cases").iterdir())
    assert files == ["S1-1.case.npz", "S4-1.case.npz"]
    assert "line 3: " in result.output
    assert "line 4: the visit is no number" in result.output
    assert "2 row(s) of" in str(result.exception)


def test_the_earlier_name_of_the_command_is_refused_with_the_new_one():
    result = CliRunner().invoke(app, ["import-nifti", "T1=x.nii.gz", "--masks", "y"])

    assert result.exit_code == 2
    assert "now called import-images" in result.output
