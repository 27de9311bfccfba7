"""Contours are measured against what people drew on real images."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from models.acceptance import shows_joints
from models.delineate import delineations, loaded_contour_network
from models.delineation import Contour, Delineation
from models.findings import Side
from tests.support.real_images import real_folder, written_scans
from trainer.errors import TrainingInputInvalid
from trainer.evaluation.evaluate_real import (
    CHECKOUT,
    JudgedScan,
    causes_table,
    evaluate_real,
    inside_summary,
    judged_scan,
    real_page,
    scan_summary,
    shares_inside,
    summary_of,
)
from trainer.evaluation.real_scans import read_studies
from trainer.overlay_sheets import write_sheet

SLICES, ROWS, COLUMNS = 6, 60, 64


@pytest.fixture
def folder(tmp_path):
    """A scan with a line on two slices of each side, one of them in doubt, and a mask."""
    affine = np.zeros((4, 4))
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = [-1, 0, 0], [0, 0, -1], [0, -4, 0]
    affine[3, 3] = 1
    for name in ("paired", "lines", "masks"):
        (tmp_path / name).mkdir()
    voxels = np.random.default_rng(0).random((COLUMNS, ROWS, SLICES)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "paired" / "7_T1W.nii.gz")
    mask = np.zeros_like(voxels)
    mask[5:, 5:55] = 1
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "masks" / "7_region.nii.gz")
    lines = {
        str(number): {
            side: [[column, 4.0 * number, -row] for row in range(20, 41, 4)]
            for side, column in (("right", 15), ("left", 48))
        }
        for number in (2, 3)
    }
    told = {"lines": lines, "ambiguous": {"3": ["left"]}}
    (tmp_path / "lines" / "7.json").write_text(json.dumps(told))
    return tmp_path


def contour(number, column, side, rows=(20, 40)):
    rows = np.linspace(*rows, 11)
    return Contour(number, side, np.stack([rows, np.full(11, float(column))], axis=1), 0.9)


def test_lines_masks_and_doubts_are_read_in_patient_space(folder):
    ((scan,),) = read_studies(folder)

    assert set(scan.lines) == {(n, side) for n in (2, 3) for side in Side}
    assert scan.lines[2, Side.LEFT][:, 1] == pytest.approx(48)
    assert scan.ambiguous == {(3, Side.LEFT)}
    assert scan.bone.any()


def test_missed_false_and_distance_are_distinguished(folder):
    ((scan,),) = read_studies(folder)
    found = Delineation(
        (
            contour(2, 15 + 2, Side.RIGHT),
            contour(2, 48, Side.LEFT),
            contour(3, 15, Side.RIGHT),
            contour(5, 15, Side.RIGHT),
        )
    )

    rows = judged_scan(scan, found)
    every, clear = summary_of(rows), summary_of([row for row in rows if not row.ambiguous])

    assert every["lines"] == 4
    assert every["missed, %"][0] == 25
    assert every["false, %"][0] == 25
    assert clear["missed, %"][0] == 0
    assert clear["rms p95, mm"][0] == pytest.approx(2, abs=0.05)
    assert clear["rms p50, mm"][0] == pytest.approx(0, abs=0.05)


def test_a_contour_outside_the_experts_region_counts_as_outside(folder):
    ((scan,),) = read_studies(folder)

    inside, half = shares_inside(
        scan,
        Delineation((contour(2, 30, Side.LEFT), contour(2, 15, Side.RIGHT, rows=(45, 59)))),
    )

    assert inside == 1
    assert 0.4 < half < 0.8


def test_each_error_is_given_its_cause(folder):
    ((scan,),) = read_studies(folder)
    found = Delineation(
        (
            contour(2, 15 + 12, Side.RIGHT),
            contour(5, 15, Side.RIGHT),
            contour(2, 48, Side.LEFT, rows=(20, 58)),
        )
    )

    causes = {(row.cause) for row in judged_scan(scan, found)}

    assert causes == {
        "far off: beside the joint",
        "false: in front of or behind the joint",
        "missed: first or last slices",
        "far off: runs on too far",
    }


def test_the_page_and_the_sheets_hold_every_table_and_slice(folder, tmp_path):
    ((scan,),) = read_studies(folder)
    found = Delineation((contour(2, 15, Side.RIGHT),))
    write_sheet(scan.volume, found, scan.lines, tmp_path / "sheets" / "7.png")

    rows = judged_scan(scan, found)
    page = real_page(
        {
            "network": "contour 1",
            "studies": 1,
            "refused": 0,
            "against lines": {"T1W, all": summary_of(rows)},
            "causes": causes_table(rows),
            "per scan": [scan_summary(scan, found, rows, shares_inside(scan, found))],
            "inside the experts' region": inside_summary({"7": [1.0]}),
        }
    )

    assert "missed, %" in page
    assert "| missed: the joint was not found | 2 | 0 |" in page
    assert "| 7 T1W | 1 | 0 | 0.9 | 4 | 3 | 0 | missed |" in page
    assert (tmp_path / "sheets" / "7.png").stat().st_size > 1000


def test_outlined_oedema_is_compared_with_the_lesion_regions(folder):
    image = nibabel.load(folder / "paired" / "7_T1W.nii.gz")
    nibabel.save(image, folder / "paired" / "7_STIR.nii.gz")
    outline = np.zeros(image.shape, np.float32)
    outline[18:22, 25:35, 2] = 1
    (folder / "oedema").mkdir()
    nibabel.save(nibabel.Nifti1Image(outline, image.affine), folder / "oedema" / "7_R11.nii.gz")

    ((t1, stir),) = read_studies(folder)
    beside = JudgedScan.of(stir, Delineation((contour(2, 15, Side.RIGHT),)))
    away = JudgedScan.of(stir, Delineation((contour(2, 48, Side.LEFT),)))

    assert not t1.oedema
    assert beside.oedema_ml == pytest.approx([0.16])
    assert (beside.covered, away.covered) == ([1.0], [0.0])


def test_dicom_images_are_read_like_nifti(folder, tmp_path_factory):
    image = nibabel.load(folder / "paired" / "7_T1W.nii.gz")
    whole = np.rint(np.asarray(image.dataobj) * 1000)
    for kind in ("T1W", "STIR"):
        path = folder / "paired" / f"7_{kind}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(whole.astype(np.int16), image.affine), path)
    (scans,) = read_studies(folder)
    other = tmp_path_factory.mktemp("dicom")
    for name in ("lines", "masks"):
        (other / name).symlink_to(folder / name)
    written_scans(scans, other / "studies" / "7")

    (from_dicom,) = read_studies(other)

    for before, after in zip(scans, from_dicom, strict=True):
        assert (after.case, after.kind, after.ambiguous) == ("7", before.kind, before.ambiguous)
        assert (after.volume.voxels == before.volume.voxels).all()
        assert after.volume.affine == pytest.approx(before.volume.affine, abs=1e-6)
        assert (after.bone == before.bone).all()
        assert after.lines.keys() == before.lines.keys()
        for key, line in before.lines.items():
            assert after.lines[key] == pytest.approx(line, abs=1e-4)


def test_a_mask_on_another_grid_is_read_through_patient_space(folder):
    ((scan,),) = read_studies(folder)
    path = folder / "masks" / "7_region.nii.gz"
    mask = nibabel.load(path)
    cropped = mask.slicer[10:, 5:]
    nibabel.save(cropped, path)

    ((again,),) = read_studies(folder)

    assert (again.bone[:, 8:52, 14:60] == scan.bone[:, 8:52, 14:60]).all()
    assert not again.bone[:, :, :8].any()


def test_a_folder_without_scans_and_unreadable_lines_are_explained(folder, tmp_path_factory):
    with pytest.raises(TrainingInputInvalid, match="has no scans"):
        list(read_studies(tmp_path_factory.mktemp("empty")))

    (folder / "lines" / "7.json").write_text('{"lines": {"2": {"up": [[0, 0, 0]]}}}')
    with pytest.raises(TrainingInputInvalid, match=r"7\.json cannot be read"):
        list(read_studies(folder))


def test_pictures_of_patients_are_never_written_into_the_checkout(folder):
    with pytest.raises(TrainingInputInvalid, match="in the checkout"):
        evaluate_real(folder, sheets=CHECKOUT / "sheets")


def test_no_real_study_is_refused_and_most_contours_are_found():
    where = real_folder("accuracy of contours was")
    network, rules = loaded_contour_network(Path("models/weights/contour"))
    rows, refused = [], 0
    for scans in read_studies(where):
        seen = delineations(network, rules, [scan.volume for scan in scans])
        refused += not shows_joints([one.delineation for one in seen])
        for scan, one in zip(scans, seen, strict=True):
            rows += [row for row in judged_scan(scan, one.delineation) if not row.ambiguous]

    numbers = summary_of([row for row in rows if row.kind == "T1W"])

    assert refused <= 1
    assert numbers["missed, %"][0] < 15
    assert numbers["false, %"][0] < 15
    assert numbers["rms p75, mm"][0] < 3
