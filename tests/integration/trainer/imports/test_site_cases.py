"""A site's own cases are prepared, split by person, and taught."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.case_file import SUFFIX, Case, CaseFileInvalid, CaseSeries, Reading, write_case_file
from models.delineation import Delineation
from models.findings import POSITIONS, Side
from models.roi import RoiRules
from tests.support.phantom_studies import drawn_case
from trainer.experiment import CaseSplit
from trainer.imports.import_report import check_sides, left_out_contours
from trainer.imports.site_cases import ReadingSessions, import_cases, site_case
from trainer.lesions.lesion_targets import site_readings
from trainer.lesions.lesion_training import joint_samples, lesion_loss
from trainer.phantom.case import PhantomOptions
from trainer.prepared_cases import UNREAD, read_case, write_case
from trainer.readers.readings import MISSING
from trainer.subjects import (
    SUBJECTS,
    SubjectDivided,
    SubjectsRenumbered,
    SubjectsTooFew,
    check_split,
    numbered,
    proposed_split,
    write_subjects,
)

RULES = RoiRules(size_px=48)


@pytest.fixture(scope="module")
def phantom():
    return drawn_case(7, PhantomOptions(slices=15, matrix=256))


def case_of(phantom, *, drawn=("T1", "STIR"), readings=()):
    pairs = (("T1", phantom.t1, phantom.t1_truth), ("STIR", phantom.stir, phantom.stir_truth))
    series = tuple(CaseSeries(k, v, d if k in drawn else None) for k, v, d in pairs)
    return Case("S1", series, tuple(readings))


def nobody(_):
    raise AssertionError("everything was drawn")


def reading(phantom, reader, without=()):
    grades = {p: grade for p, grade in phantom.severity.items() if p not in without}
    return Reading(reader, 1, grades)


def test_a_case_trains_contours_where_drawn_and_lesions_where_read(phantom, tmp_path):
    unread = POSITIONS[3]
    case = case_of(phantom, readings=[reading(phantom, "A", [unread])])

    write_case(site_case(0, case, RULES, nobody), tmp_path)

    kept = read_case(tmp_path, 0)
    assert len(kept.images) == len(phantom.t1.voxels) + len(phantom.stir.voxels)
    shown = ~np.isnan(kept.contours[:, :, 0, 0])
    truth = len(phantom.t1_truth.contours) + len(phantom.stir_truth.contours)
    assert shown.sum() == truth
    assert kept.severity[3] == UNREAD
    samples = joint_samples(kept)
    assert len(samples) == 2
    assert sum(int(sample.positive.isnan().sum()) for sample in samples) == 1


def test_every_reading_is_kept_beside_the_consensus(phantom, tmp_path):
    place = POSITIONS[0]
    other = Reading("B", 3, {place: 0 if phantom.severity[place] else 2})
    case = case_of(phantom, readings=[reading(phantom, "A"), other])
    everybody = ReadingSessions(("A", "B", "C"), (1, 3))

    write_case(site_case(0, case, RULES, nobody, everybody), tmp_path)

    kept = read_case(tmp_path, 0)
    assert kept.readings.shape == (28, 3, 2)
    assert kept.severity[0] == UNREAD
    assert kept.readings[0, 0, 0] == (phantom.severity[place] >= 1)
    assert kept.readings[0, 1, 1] == (phantom.severity[place] == 0)
    assert (kept.readings[:, 2] == MISSING).all()
    right, left = joint_samples(kept)
    said = site_readings((right, left))
    np.testing.assert_array_equal(said.values.reshape(28, 3, 2), kept.readings)


def test_who_read_follows_from_the_readings(phantom):
    found = ReadingSessions.of([reading(phantom, "B"), Reading("A", 7, {}), Reading("B", 7, {})])

    assert found == ReadingSessions(("A", "B"), (1, 7))


def test_undrawn_cases_use_the_networks_contours_only_to_crop_joints(phantom):
    asked = []

    def delineate(volume):
        asked.append(volume)
        return phantom.t1_truth if len(asked) == 1 else phantom.stir_truth

    case = case_of(phantom, drawn=(), readings=[reading(phantom, "A")])
    made = site_case(0, case, RULES, delineate)

    assert len(asked) == 2
    assert len(made.images) == 0
    assert {side for _, side in made.rois} == set(Side)


def test_series_without_contours_are_delineated_outside_the_checkout(
    phantom, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    case = case_of(phantom, drawn=("STIR",), readings=[reading(phantom, "A")])
    write_case_file(case, tmp_path / f"S1-1{SUFFIX}")

    import_cases(tmp_path, tmp_path / "own", size_px=48)

    assert {side for _, side in read_case(tmp_path / "own", 0).rois} == set(Side)


def test_contours_of_one_joint_do_not_teach_that_the_other_is_absent(phantom):
    right = Delineation(tuple(phantom.t1_truth.of(Side.RIGHT)))
    series = (
        CaseSeries("T1", phantom.t1, right),
        CaseSeries("STIR", phantom.stir, phantom.stir_truth),
    )

    made = site_case(0, Case("S1", series), RULES, nobody)

    assert left_out_contours(series[0]) == "contours on the right only"
    assert len(made.images) == len(phantom.stir.voxels)


def test_contours_on_the_wrong_side_are_refused(phantom):
    first = phantom.t1_truth.contours[0]
    others = [c for c in phantom.t1_truth.contours if c.slice_index != first.slice_index]
    wrong = replace(first, side=Side.LEFT if first.side is Side.RIGHT else Side.RIGHT)
    series = (CaseSeries("T1", phantom.t1, Delineation((wrong, *others))),)

    with pytest.raises(CaseFileInvalid, match="lies on the patient's other side"):
        check_sides(Case("S1", series), Path("S1-1.case.npz"))


def test_an_import_reports_what_is_left_out_and_shows_contours(phantom, tmp_path, capsys):
    write_case_file(case_of(phantom), tmp_path / f"S1-1{SUFFIX}")

    import_cases(tmp_path, tmp_path / "own", size_px=48)

    said = (tmp_path / "own" / "import_report.md").read_text()
    assert "no split: 1 subject(s) cannot be split" in capsys.readouterr().out
    assert f"| 0 | T1 | 15 × {' × '.join(str(n) for n in phantom.t1.voxels.shape[1:])} |" in said
    assert "| no readings |" in said
    assert (tmp_path / "own" / "overlays" / "000000_T1.png").exists()


def test_new_subjects_are_numbered_after_those_already_there(tmp_path):
    write_subjects(["S2", "S2", "S3"], tmp_path)
    cases = [(name, Path(f"{name}-{visit}")) for name in ("S1", "S2", "S3") for visit in (1, 2)]

    ordered = numbered([case for case in cases if case != ("S3", Path("S3-2"))], tmp_path)

    assert [name for name, _ in ordered] == ["S2", "S2", "S3", "S1", "S1"]


def test_an_import_that_would_renumber_subjects_is_refused(tmp_path):
    write_subjects(["S2", "S3"], tmp_path)
    cases = [("S2", Path("S2-1")), ("S2", Path("S2-2")), ("S3", Path("S3-1"))]

    with pytest.raises(SubjectsRenumbered, match="import into another folder"):
        numbered(cases, tmp_path)


def test_without_readings_a_case_teaches_contours_only(phantom):
    made = site_case(0, case_of(phantom), RULES, nobody)

    assert joint_samples(made) == ()
    assert len(made.images) > 0


def test_a_series_seen_without_any_joint_teaches_that_there_is_none(phantom):
    series = (CaseSeries("T1", phantom.t1, Delineation(())),)

    made = site_case(0, Case("S1", series), RULES, nobody)

    assert np.isnan(made.contours).all()
    assert len(made.images) == len(phantom.t1.voxels)


def test_unknown_labels_do_not_change_the_loss():
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    some = lesion_loss(logits, torch.tensor([[1.0, torch.nan, 0.0]]))
    other = lesion_loss(torch.tensor([[0.3, 5.0, 2.0]]), torch.tensor([[1.0, torch.nan, 0.0]]))

    torch.testing.assert_close(some, other)
    assert some > 0


def test_a_proposed_split_keeps_the_visits_of_a_person_together(tmp_path):
    subjects = [f"S{number // 3}" for number in range(60)]
    (tmp_path / SUBJECTS).write_text(json.dumps(subjects))

    split = proposed_split(subjects)

    check_split(tmp_path, split.values())
    assert split == {"training": (0, 48), "validation": (48, 54), "test": (54, 60)}


@pytest.mark.parametrize("persons", range(3, 21))
def test_a_proposed_split_of_few_persons_can_be_trained_with(persons):
    subjects = [f"S{number // 2:03}" for number in range(2 * persons)]

    split = CaseSplit(**proposed_split(subjects), folder="own")

    assert split.training[1] - split.training[0] >= 2
    assert split.test[1] == len(subjects)


def test_the_proposed_split_of_the_papers_subjects_is_the_papers():
    split = proposed_split([f"S{number:03}" for number in range(339)])

    assert split == {"training": (0, 271), "validation": (271, 305), "test": (305, 339)}


def test_two_persons_cannot_be_split():
    with pytest.raises(SubjectsTooFew, match="import cases of more people"):
        proposed_split(["S1", "S1", "S2"])


def test_a_split_that_parts_a_person_is_refused(tmp_path):
    (tmp_path / SUBJECTS).write_text(json.dumps(["S1", "S1", "S2", "S3"]))

    with pytest.raises(SubjectDivided, match="S1"):
        check_split(tmp_path, [(0, 1), (1, 3), (3, 4)])
