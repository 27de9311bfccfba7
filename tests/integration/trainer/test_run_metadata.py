from dataclasses import replace
from pathlib import Path

import pytest

from models.weights import read_card
from trainer.distributed import SINGLE_PROCESS
from trainer.experiment import SHIPPED_WEIGHTS, CaseSplit, ExperimentInvalid, read_experiment
from trainer.run_metadata import record_run, refuse_trained_subjects, training_record
from trainer.subjects import write_subjects
from trainer.training_loop import CHECKPOINT

PLAN = replace(read_experiment(Path("trainer/experiments/contour.toml")), initial_weights="")


def test_a_run_goes_on_with_the_experiment_that_it_began_with(tmp_path):
    record_run(PLAN, tmp_path, SINGLE_PROCESS)
    (tmp_path / PLAN.folder / CHECKPOINT).write_bytes(b"")

    record_run(
        replace(PLAN, notes="Put in better words.", digest="of the new words"),
        tmp_path,
        SINGLE_PROCESS,
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"cases": CaseSplit((0, 8), (8, 10), (10, 12), "own")}, "cases"),
        ({"seed": 77, "batch": 2}, "batch, seed"),
    ],
)
def test_another_experiment_of_the_same_name_does_not_resume_the_first(tmp_path, changed, named):
    record_run(PLAN, tmp_path, SINGLE_PROCESS)
    (tmp_path / PLAN.folder / CHECKPOINT).write_bytes(b"")

    with pytest.raises(ExperimentInvalid, match=f"with different {named}; give the experiment"):
        record_run(replace(PLAN, **changed), tmp_path, SINGLE_PROCESS)


OWN = replace(PLAN, cases=CaseSplit((0, 2), (2, 3), (3, 4), "own"))


def own_subjects(runs, *subjects):
    (runs / "own").mkdir(exist_ok=True)
    write_subjects(list(subjects), runs / "own")


def test_a_run_does_not_resume_with_other_subjects_under_the_same_numbers(tmp_path):
    own_subjects(tmp_path, "S1", "S2", "S3", "S4")
    record_run(OWN, tmp_path, SINGLE_PROCESS)
    (tmp_path / OWN.folder / CHECKPOINT).write_bytes(b"")
    own_subjects(tmp_path, "S0", "S1", "S2", "S3")

    with pytest.raises(ExperimentInvalid, match="with different subjects; give"):
        record_run(OWN, tmp_path, SINGLE_PROCESS)


def test_a_network_is_not_tested_on_subjects_that_it_learnt_from(tmp_path):
    own_subjects(tmp_path, "S1", "S2", "S3", "S4")
    card = replace(read_card(SHIPPED_WEIGHTS / "lesion"), training=training_record(OWN, tmp_path))
    refuse_trained_subjects(card, tmp_path / "own", range(3, 4))
    own_subjects(tmp_path, "S0", "S1", "S2", "S3")

    with pytest.raises(ExperimentInvalid, match=r"1 subject\(s\) .* were used for validation"):
        refuse_trained_subjects(card, tmp_path / "own", range(3, 4))


def test_a_subject_is_recorded_without_its_name(tmp_path):
    own_subjects(tmp_path, "Muster", "S2", "S3", "S4")

    record_run(OWN, tmp_path, SINGLE_PROCESS)

    assert "Muster" not in (tmp_path / OWN.folder / "run.json").read_text()
