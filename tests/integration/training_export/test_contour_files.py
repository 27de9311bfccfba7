"""Contours drawn in other programs: RT structure sets, segmentations, curves of 3D Slicer."""

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from typer.testing import CliRunner

from models.case_file import read_case_file
from models.findings import Side
from sij_node.cli.commands import app
from sij_node.errors import TrainingCaseUnusable
from sij_node.training_export.contour_files import lines_in
from sij_node.training_export.training_case import training_case
from tests.support.phantom_studies import T1, small_case, written


@pytest.fixture(scope="module")
def case():
    return small_case()


@pytest.fixture(scope="module")
def study(case, tmp_path_factory):
    return written(case, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def images(study):
    """The T1 images by slice, from front to back as the volume has them."""
    read = [dcmread(path) for path in study.files_of(T1)]
    return sorted(read, key=lambda one: float(one.ImagePositionPatient[1]))


def in_patient(case, contour):
    return case.t1.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))


def image_at(images, points):
    across, down = np.reshape(np.array(images[0].ImageOrientationPatient, float), (2, 3))
    corners = np.array([one.ImagePositionPatient for one in images], float)
    away = np.abs((points.mean(axis=0) - corners) @ np.cross(across, down))
    return images[int(away.argmin())]


def structures(case, images, folder, *, closed=False, by_image=True):
    """An RT structure set with a contour for every true line."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    reference = Dataset()
    reference.SeriesInstanceUID = images[0].SeriesInstanceUID
    study, frame = Dataset(), Dataset()
    study.RTReferencedSeriesSequence = [reference]
    frame.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    for number, side in enumerate(Side, 1):
        name, roi = Dataset(), Dataset()
        name.ROINumber, name.ROIName = number, f"SIJ_{side}"
        roi.ReferencedROINumber, roi.ContourSequence = number, []
        for contour in case.t1_truth.of(side):
            roi.ContourSequence.append(
                _contour(in_patient(case, contour), images, closed, by_image)
            )
        made.StructureSetROISequence.append(name)
        made.ROIContourSequence.append(roi)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / "structures.dcm"
    made.save_as(path, enforce_file_format=True)
    return path


def _contour(points, images, closed, by_image):
    made = Dataset()
    beside = np.array([1.5, 0, 0])
    outline = np.concatenate([points - beside, (points + beside)[::-1]])
    drawn = outline if closed else points
    made.ContourGeometricType = "CLOSED_PLANAR" if closed else "OPEN_PLANAR"
    made.NumberOfContourPoints = len(drawn)
    made.ContourData = [f"{value:.4f}" for value in drawn.ravel()]
    if by_image:
        image = Dataset()
        image.ReferencedSOPClassUID = images[0].SOPClassUID
        image.ReferencedSOPInstanceUID = image_at(images, points).SOPInstanceUID
        made.ContourImageSequence = [image]
    return made


def segmentation(case, images, folder):
    """A DICOM SEG with a mask, 3 pixels wide, around every true line."""
    masks = np.zeros((len(images), images[0].Rows, images[0].Columns, 2), np.uint8)
    for number, side in enumerate(Side):
        for contour in case.t1_truth.of(side):
            points = in_patient(case, contour)
            image = image_at(images, points)
            for row, column in _dense(points, image):
                masks[images.index(image), row, column - 1 : column + 2, number] = 1
    segments = [
        hd.seg.SegmentDescription(
            number,
            f"joint {side}",
            codes.SCT.AnatomicalStructure,
            codes.SCT.Joint,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, side in enumerate(Side, 1)
    ]
    made = hd.seg.Segmentation(
        images, masks, hd.seg.SegmentationTypeValues.BINARY, segments, generate_uid(), 9,
        generate_uid(), 1, "maker", "model", "1", "serial",
    )  # fmt: skip
    path = folder / "segmentation.dcm"
    made.save_as(path)
    return path


def _dense(points, image):
    """Pixels (row, column) along a line in the patient."""
    across, down = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3))
    away = points - np.array(image.ImagePositionPatient, float)
    row_mm, column_mm = (float(mm) for mm in image.PixelSpacing)
    rows, columns = away @ down / row_mm, away @ across / column_mm
    every = np.arange(np.ceil(rows.min()), np.floor(rows.max()) + 1)
    order = np.argsort(rows)
    found = np.interp(every, rows[order], columns[order])
    return [(int(row), round(float(column))) for row, column in zip(every, found, strict=True)]


def curves(case, folder, system="LPS"):
    """A markups file of 3D Slicer with a curve for every true line."""
    signs = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1)}[system]
    markups = [
        {
            "type": "Curve",
            "coordinateSystem": system,
            "name": f"{contour.side} {contour.slice_index}",
            "controlPoints": [
                {"label": "", "position": (at * signs).tolist(), "positionStatus": "defined"}
                for at in in_patient(case, contour)
            ],
        }
        for contour in case.t1_truth.contours
    ]
    path = folder / "curves.mrk.json"
    path.write_text(json.dumps({"markups": markups}))
    return path


def check(case, found, within_mm):
    """Every true line is there, on the patient's side, and no further away."""
    assert len(found.of_kind("T1").delineation.contours) == len(case.t1_truth.contours)
    series = found.of_kind("T1")
    for side in Side:
        for contour in series.delineation.of(side):
            at = series.volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
            truths = [in_patient(case, one) for one in case.t1_truth.of(side)]
            away = [np.linalg.norm(at[:, None] - one[None], axis=2).min(axis=1) for one in truths]
            assert min(np.median(one) for one in away) < within_mm


@pytest.mark.parametrize("by_image", [True, False], ids=["by image", "by series"])
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_contours_of_an_rt_structure_set_become_lines(
    case, study, images, tmp_path, closed, by_image
):
    path = structures(case, images, tmp_path, closed=closed, by_image=by_image)

    found = training_case(study.files[0].parent, [path], None, "S001")

    check(case, found, 1.5)


def test_masks_of_a_dicom_segmentation_become_lines(case, study, images, tmp_path):
    path = segmentation(case, images, tmp_path)

    found = training_case(study.files[0].parent, [path], None, "S001")

    check(case, found, 1.5)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_curves_of_3d_slicer_become_lines_of_the_named_series(case, study, tmp_path, system):
    path = curves(case, tmp_path, system)

    found = training_case(study.files[0].parent, [Path(f"T1={path}")], None, "S001")

    check(case, found, 0.5)


def test_curves_without_a_series_are_refused_with_an_example(case, study, tmp_path):
    path = curves(case, tmp_path)

    with pytest.raises(TrainingCaseUnusable, match=r"--contours T1=left\.mrk\.json"):
        training_case(study.files[0].parent, [path], None, "S001")


@pytest.mark.parametrize(
    ("markup", "message"),
    [
        ("{}", "is not a markups file"),
        ('{"markups": [{"type": "ClosedCurve"}]}', "draw an open curve"),
        (
            '{"markups": [{"type": "Curve", "controlPoints": [{"position": [1, 2, 3]}]}]}',
            "a curve with 1 points",
        ),
    ],
)
def test_a_file_that_holds_no_curve_is_refused_by_its_name(tmp_path, markup, message):
    path = tmp_path / "left.mrk.json"
    path.write_text(markup)

    with pytest.raises(TrainingCaseUnusable, match=rf"left\.mrk\.json .*{message}"):
        lines_in(path)


def test_many_studies_are_exported_by_one_table(case, study, tmp_path):
    curves(case, tmp_path)
    rows = [
        "study,subject,visit,contours,readings",
        f"{study.files[0].parent},S001,1,T1=curves.mrk.json,",
        f"{study.files[0].parent},S002,2.0,T1=curves.mrk.json,",
        f"{study.files[0].parent},S003,1,T1=missing.mrk.json,",
    ]
    (tmp_path / "studies.csv").write_text("\n".join(rows))

    result = CliRunner().invoke(
        app, ["training-cases", str(tmp_path / "studies.csv"), "--out", str(tmp_path / "cases")]
    )

    written_cases = sorted(path.name for path in (tmp_path / "cases").iterdir())
    assert written_cases == ["S001-1.case.npz", "S002-2.case.npz"]
    assert result.exit_code == 1
    assert "line 4: " in result.output
    assert "missing.mrk.json cannot be read" in result.output
    assert "1 of 3 studies were not exported" in str(result.exception)
    check(case, read_case_file(tmp_path / "cases" / "S001-1.case.npz"), 0.5)


def test_a_table_without_a_column_names_it(tmp_path):
    (tmp_path / "studies.csv").write_text("study,subject,visit\n")

    result = CliRunner().invoke(
        app, ["training-cases", str(tmp_path / "studies.csv"), "--out", str(tmp_path)]
    )

    assert "lacks the column(s) contours, readings" in str(result.exception)
