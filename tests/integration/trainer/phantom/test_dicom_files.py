import json
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless
from typer.testing import CliRunner

from models.findings import POSITIONS
from models.volume import Volume
from tests.support.phantom_studies import drawn_case
from trainer.__main__ import app
from trainer.phantom.case import PhantomOptions
from trainer.phantom.dicom_files import VENDORS, write_study


@pytest.fixture(scope="module")
def case():
    return drawn_case(5, PhantomOptions(slices=15, matrix=256))


def read(paths):
    by_series = {}
    for path in paths:
        ds = pydicom.dcmread(path)
        by_series.setdefault(ds.SeriesNumber, []).append(ds)
    return by_series


def affine_of(orientation, spacing, first, second):
    row, column = (np.array(orientation[k : k + 3], float) for k in (0, 3))
    affine = np.eye(4)
    affine[:3, 0] = np.array(second, float) - np.array(first, float)
    affine[:3, 1] = column * float(spacing[0])
    affine[:3, 2] = row * float(spacing[1])
    affine[:3, 3] = first
    return affine


def test_classic_images_hold_the_voxels_and_the_affine_of_the_case(case, tmp_path):
    series = read(write_study(case, tmp_path))

    for number, volume in ((2, case.t1), (3, case.stir)):
        images = series[number]
        first, second = images[0], images[1]
        affine = affine_of(
            first.ImageOrientationPatient,
            first.PixelSpacing,
            first.ImagePositionPatient,
            second.ImagePositionPatient,
        )
        assert np.allclose(affine, volume.affine, atol=1e-5)
        assert np.array_equal(np.stack([i.pixel_array for i in images]), volume.voxels)


@pytest.mark.parametrize("enhanced", [False, True])
def test_values_beyond_twelve_bits_are_kept(case, tmp_path, enhanced):
    bright = replace(case, t1=Volume(case.t1.voxels * 8, case.t1.affine))

    images = read(write_study(bright, tmp_path, enhanced=enhanced))[2]

    assert all((ds.BitsStored, ds.HighBit) == (16, 15) for ds in images)
    stored = np.concatenate([np.atleast_3d(ds.pixel_array).reshape(-1) for ds in images])
    assert np.array_equal(stored, bright.t1.voxels.reshape(-1))


def test_an_enhanced_object_holds_the_voxels_and_the_affine_of_the_case(case, tmp_path):
    series = read(write_study(case, tmp_path, enhanced=True))

    for number, volume in ((2, case.t1), (3, case.stir)):
        (ds,) = series[number]
        shared = ds.SharedFunctionalGroupsSequence[0]
        first, second = (
            frame.PlanePositionSequence[0].ImagePositionPatient
            for frame in ds.PerFrameFunctionalGroupsSequence[:2]
        )
        affine = affine_of(
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
            first,
            second,
        )
        assert np.allclose(affine, volume.affine, atol=1e-5)
        assert np.array_equal(ds.pixel_array, volume.voxels)


@pytest.mark.parametrize("vendor", VENDORS)
def test_t1_and_stir_are_distinguished_by_numbers_in_headers(case, tmp_path, vendor):
    series = read(write_study(case, tmp_path, vendor=vendor))

    t1, stir = series[2][0], series[3][0]
    assert t1.RepetitionTime < 900
    assert t1.EchoTime < 30
    assert "InversionTime" not in t1
    assert stir.RepetitionTime > 2000
    assert 100 <= stir.InversionTime <= 260


def test_the_localiser_has_three_planes_in_one_frame_of_reference(case, tmp_path):
    series = read(write_study(case, tmp_path))

    directions = {tuple(map(float, image.ImageOrientationPatient)) for image in series[1]}
    frames = {image.FrameOfReferenceUID for images in series.values() for image in images}
    assert len(directions) == 3
    assert len(frames) == 1


def test_the_same_case_gets_the_same_uids_and_no_two_instances_share_one(case, tmp_path):
    first = [pydicom.dcmread(p).SOPInstanceUID for p in write_study(case, tmp_path / "a")]
    again = [pydicom.dcmread(p).SOPInstanceUID for p in write_study(case, tmp_path / "b")]

    assert first == again
    assert len(set(first)) == len(first)
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in first)


def test_each_seed_is_a_patient_of_its_own(case, tmp_path):
    first, other, again = (
        pydicom.dcmread(write_study(replace(case, seed=seed), tmp_path / name)[0])
        for seed, name in ((7, "a"), (8, "b"), (7, "c"))
    )

    keys = "PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"
    assert all(first[key].value != other[key].value for key in keys)
    assert all(first[key].value == again[key].value for key in keys)


def test_compressed_files_decode_to_the_same_voxels(case, tmp_path):
    series = read(write_study(case, tmp_path, transfer_syntax=RLELossless))

    assert series[2][0].file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(np.stack([i.pixel_array for i in series[2]]), case.t1.voxels)


def test_an_unknown_vendor_is_named(case, tmp_path):
    with pytest.raises(ValueError, match="not 'acme'"):
        write_study(case, tmp_path, vendor="acme")


def test_the_command_writes_images_and_their_truth(tmp_path):
    told = CliRunner().invoke(
        app, ["phantom", "--seed", "9", "--out", str(tmp_path), "--patient-id", "P9"]
    )

    assert told.exit_code == 0, told.output
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert set(truth["severity"]) == {str(position) for position in POSITIONS}
    assert {c["side"] for c in truth["contours"]["t1"]} == {"left", "right"}
    left = [p[0] for c in truth["contours"]["t1"] if c["side"] == "left" for p in c["points_mm"]]
    right = [p[0] for c in truth["contours"]["t1"] if c["side"] == "right" for p in c["points_mm"]]
    assert min(left) > max(right)
    assert pydicom.dcmread(tmp_path / "dicom" / "00001.dcm").PatientID == "P9"


@pytest.mark.acceptance
@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
def test_dciodvfy_finds_no_error(case, tmp_path, vendor, enhanced):
    paths = write_study(case, tmp_path, vendor=vendor, enhanced=enhanced)

    for path in {paths[0], paths[3], paths[-1]}:
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in told.stderr + told.stdout, told.stderr
