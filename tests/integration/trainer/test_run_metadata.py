from dataclasses import replace
from pathlib import Path

import pytest

from trainer.distributed import SINGLE_PROCESS
from trainer.experiment import CaseSplit, ExperimentInvalid, read_experiment
from trainer.run_metadata import record_run
from trainer.training_loop import CHECKPOINT

PLAN = replace(read_experiment(Path("trainer/experiments/contour.toml")), initial_weights="")


def test_a_run_goes_on_with_the_experiment_that_it_began_with(tmp_path):
    record_run(PLAN, tmp_path, SINGLE_PROCESS)
    (tmp_path / CHECKPOINT).write_bytes(b"")

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
    (tmp_path / CHECKPOINT).write_bytes(b"")

    with pytest.raises(ExperimentInvalid, match=f"with different {named}; give the experiment"):
        record_run(replace(PLAN, **changed), tmp_path, SINGLE_PROCESS)
