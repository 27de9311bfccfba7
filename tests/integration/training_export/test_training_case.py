"""A site's study is converted into a training case without patient data."""

import json

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage
from typer.testing import CliRunner

from models.case_file import CaseFileInvalid, position_named, read_case_file
from models.findings import POSITIONS, Side
from models.reading_table import READING_COLUMNS, readings_of
from sij_node.cli.commands import app
from sij_node.dicom.volumes import volume_from
from sij_node.errors import TrainingCaseUnusable
from sij_node.training_export.training_case import training_case
from tests.support.phantom_studies import PATIENT_ID, STIR, T1, small_case, written


@pytest.fixture(scope="module")
def case():
    return small_case()


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "enhanced"])
def study(case, request, tmp_path_factory):
    return written(case, tmp_path_factory.mktemp("study"), enhanced=request.param)


def contours_file(case, study, folder):
    drawn = []
    for number, volume, truth in ((T1, case.t1, case.t1_truth), (STIR, case.stir, case.stir_truth)):
        for contour in truth.contours:
            at = volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
            drawn.append(
                {
                    "series_instance_uid": study.series_uid(number),
                    "side": str(contour.side),
                    "points": at.tolist(),
                }
            )
    path = folder / "contours.json"
    path.write_text(json.dumps({"contours": drawn}))
    return path


def readings_file(case, folder, disagreeing=()):
    rows = []
    for reader in ("A", "B"):
        for position, grade in case.severity.items():
            said = 3 - grade if reader == "B" and position in disagreeing else grade
            rows.append(row_of("S001", 1, reader, 1, position, said))
    rows.append(row_of("S001", 2, "A", 1, POSITIONS[0], 3 - case.severity[POSITIONS[0]]))
    rows.append(row_of("S002", 1, "A", 1, POSITIONS[0], 3 - case.severity[POSITIONS[0]]))
    return table_in(folder, rows)


def row_of(patient, visit, reader, session, position, score):
    head = position.head
    return (
        f"{patient},{visit},{reader},{session},{position.side},{head.region},{head.lesion},{score}"
    )


def table_in(folder, rows):
    path = folder / "readings.csv"
    path.write_text("\n".join([",".join(READING_COLUMNS), *rows]))
    return path


def test_a_study_with_contours_and_readings_becomes_a_case(case, study, tmp_path):
    folder = study.files[0].parent
    unsure = next(p for p in POSITIONS if case.severity[p] == 0)

    result = CliRunner().invoke(
        app,
        [
            "training-case",
            str(folder),
            "--out",
            str(tmp_path / "cases"),
            "--subject",
            "S001",
            "--contours",
            str(contours_file(case, study, tmp_path)),
            "--readings",
            str(readings_file(case, tmp_path, [unsure])),
        ],
    )

    assert result.exit_code == 0, result.output
    kept = read_case_file(tmp_path / "cases" / "S001-1.case.npz")
    assert [one.kind for one in kept.series] == ["T1", "STIR"]
    for kind, truth, volume in (
        ("T1", case.t1_truth, case.t1),
        ("STIR", case.stir_truth, case.stir),
    ):
        series = kept.of_kind(kind)
        for side in Side:
            mine, true = (
                np.concatenate(
                    [
                        v.to_patient(np.insert(c.points, 0, c.slice_index, axis=1))
                        for c in d.of(side)
                    ]
                )
                for v, d in ((series.volume, series.delineation), (volume, truth))
            )
            np.testing.assert_allclose(
                mine[np.lexsort(mine.T)], true[np.lexsort(true.T)], atol=0.01
            )
    agreed = kept.agreed()
    assert unsure not in agreed
    assert all(agreed[p] == (case.severity[p] >= 1) for p in POSITIONS if p != unsure)


def test_a_case_file_holds_nothing_of_the_patient(case, study, tmp_path):
    teaching = training_case(
        study.files[0].parent, [contours_file(case, study, tmp_path)], None, "S001"
    )

    reported = repr(teaching) + "".join(one.kind for one in teaching.series)
    header = dcmread(study.files[0], stop_before_pixels=True)
    assert PATIENT_ID not in reported
    assert str(header.StudyInstanceUID) not in reported


def test_contours_of_another_study_are_refused(case, study, tmp_path):
    path = tmp_path / "contours.json"
    line = {"sop_instance_uid": "1.2.3", "points": [[1, 2], [3, 4]], "side": "left"}
    path.write_text(json.dumps({"contours": [line]}))

    with pytest.raises(TrainingCaseUnusable, match="not in the study"):
        training_case(study.files[0].parent, [path], None, "S001")


def test_a_study_on_which_nothing_was_drawn_teaches_nothing(study):
    with pytest.raises(TrainingCaseUnusable, match="nothing to export"):
        training_case(study.files[0].parent, [], None, "S001")


@pytest.mark.parametrize("subject", [PATIENT_ID, f"x-{PATIENT_ID.lower()}-1"])
def test_a_subject_that_names_the_patient_is_refused(study, subject):
    with pytest.raises(TrainingCaseUnusable, match="choose a pseudonym") as refused:
        training_case(study.files[0].parent, [], None, subject)

    assert PATIENT_ID.lower() not in str(refused.value).lower()


@pytest.mark.parametrize("subject", ["Eva Muster", "../S1", ""])
def test_a_subject_is_letters_and_digits(study, subject):
    with pytest.raises(TrainingCaseUnusable, match="letters, digits"):
        training_case(study.files[0].parent, [], None, subject)


def test_lines_of_one_joint_on_the_wrong_side_are_refused(case, study, tmp_path):
    path = contours_file(case, study, tmp_path)
    drawn = [one for one in json.loads(path.read_text())["contours"] if one["side"] == "left"]
    path.write_text(json.dumps({"contours": [one | {"side": "right"} for one in drawn]}))

    with pytest.raises(TrainingCaseUnusable, match="lies on the patient's left"):
        training_case(study.files[0].parent, [path], None, "S001")


def test_a_report_without_coordinates_is_refused_as_such(study, tmp_path):
    path = tmp_path / "report.dcm"
    report = dcmread(study.files[0])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = Comprehensive3DSRStorage
    del report.PixelData
    report.save_as(path)

    with pytest.raises(TrainingCaseUnusable, match="has no image coordinates"):
        training_case(study.files[0].parent, [path], None, "S001")


def test_any_number_of_readers_and_sessions_and_readings_that_are_missing(tmp_path):
    first, second = POSITIONS[:2]
    path = table_in(
        tmp_path,
        [
            row_of("S001", 1, "Dr A", 1, first, 0),
            row_of("S001", 1, "Dr A", 2, first, 2),
            row_of("S001", 1, "Dr B", 1, second, 1),
            row_of("S001", 1, "Dr C", 4, first, ""),
            row_of("S001", 1, "Dr C", 4, second, 3),
            row_of("S001", 1, "Dr D", 1, first, ""),
            "S001,1,Dr B,1,left,,sclerosis,0",
        ],
    )

    read = {(one.reader, one.session): one.grades for one in readings_of(path, "S001", 1)}

    assert set(read) == {("Dr A", 1), ("Dr A", 2), ("Dr B", 1), ("Dr C", 4)}
    assert read["Dr A", 2] == {first: 2}
    assert read["Dr C", 4] == {second: 3}
    assert read["Dr B", 1] == {second: 1, position_named("left joint sclerosis"): 0}


def test_readings_are_taken_of_the_subject_s_own_visit(tmp_path):
    place = POSITIONS[3]
    path = table_in(
        tmp_path,
        [
            row_of("S001", 1, "A", 1, place, 1),
            row_of("S001", 2, "A", 1, place, 2),
            row_of("S002", 1, "A", 1, place, 3),
        ],
    )

    assert [one.grades[place] for one in readings_of(path, "S001", 2)] == [2]
    with pytest.raises(CaseFileInvalid, match="no row of subject S003, visit 1"):
        readings_of(path, "S003", 1)
    with pytest.raises(CaseFileInvalid, match="no row of subject S001, visit 3"):
        readings_of(path, "S001", 3)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("S001,1,A,1,left,knee,oedema,1", "unknown region 'knee'; known are upper ilium"),
        ("S001,1,A,one,left,lower ilium,oedema,1", "line 3"),
        ("S001,1,A,1,left,lower ilium,oedema,7", "score 7"),
        ("S001,1,A,1,left,lower ilium", "line 3"),
        ("S001,1,A,1,right,upper ilium,oedema,1", "two different scores"),
    ],
)
def test_a_reading_that_means_nothing_is_refused(tmp_path, row, said):
    path = table_in(tmp_path, [row_of("S001", 1, "A", 1, POSITIONS[0], 0), row])

    with pytest.raises(CaseFileInvalid, match=said):
        readings_of(path, "S001", 1)


def test_a_column_that_is_missing_is_named(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_text("patient,visit,reader,session,side,region,score\n")

    with pytest.raises(CaseFileInvalid, match="lesion; required are patient"):
        readings_of(path, "S001", 1)


def test_a_damaged_case_file_is_refused_by_its_name(tmp_path):
    path = tmp_path / "S001-1.case.npz"
    path.write_bytes(b"PK nothing")

    with pytest.raises(CaseFileInvalid, match="S001-1"):
        read_case_file(path)


def lines_on(images, volume, truth):
    """Each true line on the image, and the frame, that it was drawn on."""
    source = volume_from(images)
    for contour in truth.contours:
        at = volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
        where = source.sources[round(source.volume.to_indices(at)[:, 0].mean())]
        yield {
            "sop_instance_uid": where.sop_instance_uid,
            "frame": where.frame_number,
            "side": str(contour.side),
            "points": at.tolist(),
        }


def test_a_t1_and_a_stir_under_one_series_uid_become_a_case(case, study, tmp_path):
    t1, stir = (list(map(dcmread, study.files_of(number))) for number in (T1, STIR))
    lines = [*lines_on(t1, case.t1, case.t1_truth), *lines_on(stir, case.stir, case.stir_truth)]
    for number, image in enumerate([*t1, *stir]):
        image.SeriesInstanceUID = study.series_uid(T1)
        image.save_as(tmp_path / f"{number}.dcm")
    path = tmp_path / "lines.json"
    path.write_text(json.dumps({"contours": lines}))

    found = training_case(tmp_path, [path], None, "S001")

    assert {one.kind for one in found.series} == {"T1", "STIR"}
    assert len(found.of_kind("T1").delineation.contours) == len(case.t1_truth.contours)
    assert len(found.of_kind("STIR").delineation.contours) == len(case.stir_truth.contours)
