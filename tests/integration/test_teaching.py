"""A site's own study becomes a case for training, with nothing that names the patient."""

import json

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from models.case_file import CaseFileInvalid, read_case_file
from models.findings import POSITIONS, Side
from sij_node.cli import app
from sij_node.errors import TeachingUnusable
from sij_node.teaching import teaching_case
from tests.support.phantoms import PATIENT_ID, STIR, T1, small_case, written


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
    rows = ["reader,session,position,grade"]
    for reader in ("A", "B"):
        for position, grade in case.severity.items():
            said = 3 - grade if reader == "B" and position in disagreeing else grade
            rows.append(f"{reader},1,{position},{said}")
    path = folder / "readings.csv"
    path.write_text("\n".join(rows))
    return path


def test_a_study_with_contours_and_readings_becomes_a_case(case, study, tmp_path):
    folder = study.files[0].parent
    unsure = next(p for p in POSITIONS if case.severity[p] == 0)

    result = CliRunner().invoke(
        app,
        [
            "teaching-case",
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
    teaching = teaching_case(
        study.files[0].parent, [contours_file(case, study, tmp_path)], None, "S001"
    )

    told = repr(teaching) + "".join(one.kind for one in teaching.series)
    header = dcmread(study.files[0], stop_before_pixels=True)
    assert PATIENT_ID not in told
    assert str(header.StudyInstanceUID) not in told


def test_contours_of_another_study_are_refused(case, study, tmp_path):
    path = tmp_path / "contours.json"
    line = {"sop_instance_uid": "1.2.3", "points": [[1, 2], [3, 4]], "side": "left"}
    path.write_text(json.dumps({"contours": [line]}))

    with pytest.raises(TeachingUnusable, match="not in the study"):
        teaching_case(study.files[0].parent, [path], None, "S001")


def test_a_study_on_which_nothing_was_drawn_teaches_nothing(study):
    with pytest.raises(TeachingUnusable, match="nothing to teach"):
        teaching_case(study.files[0].parent, [], None, "S001")


@pytest.mark.parametrize(
    "row",
    ["A,1,left knee oedema,1", "A,one,left lower ilium oedema,1", "A,1,left lower ilium oedema,7"],
)
def test_a_reading_that_means_nothing_is_refused(study, tmp_path, row):
    path = tmp_path / "readings.csv"
    path.write_text(f"reader,session,position,grade\n{row}\n")

    with pytest.raises(TeachingUnusable):
        teaching_case(study.files[0].parent, [], path, "S001")


def test_a_damaged_case_file_is_refused_by_its_name(tmp_path):
    path = tmp_path / "S001-1.case.npz"
    path.write_bytes(b"PK nothing")

    with pytest.raises(CaseFileInvalid, match="S001-1"):
        read_case_file(path)
