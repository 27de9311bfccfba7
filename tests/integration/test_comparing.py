"""Stored studies are analysed with other weights too; nothing is sent and no job changes."""

import json
from pathlib import Path

import models
from deploy.trial import free_port, set_up
from sij_node.config import load_config
from sij_node.node import compare, open_store
from tests.support.stored_study import received_study

WEIGHTS = Path(models.__file__).parent / "weights"


def test_the_same_weights_say_the_same_and_the_outcome_is_kept(tmp_path: Path):
    config_file = set_up(tmp_path / "node", "MODALITY", free_port()).config
    job = received_study(config_file, tmp_path / "images")
    config = load_config(config_file)

    found = compare(config, WEIGHTS, [job.job_id], last=1)

    (study,) = found.studies
    assert study.remark == ""
    assert (len(study.scores), found.changing_sides) == (28, 0)
    assert found.contour_mm == 0.0
    assert (study.only_before, study.only_after) == (0, 0)
    (kept,) = (config.node.data_folder / "comparisons").iterdir()
    assert json.loads(kept.read_text())["summary"]["positions"] == 28
    with open_store(config) as store:
        assert store.table.jobs() == [job]
        assert store.table.deliveries(job.job_id) == ()
