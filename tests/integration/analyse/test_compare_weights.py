"""Stored studies are analysed with other weights; nothing is sent and no job changes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import models
from deploy.trial import free_port, set_up
from models.analyser import Analyser, Analysis
from models.volume import Volume
from sij_node.analyse.compare_weights import compare_studies
from sij_node.config.settings import load_config
from sij_node.processes.assembly import open_store
from sij_node.processes.offline_analysis import compare
from sij_node.store.deliveries import deliveries_of
from sij_node.store.job_queries import newest_jobs
from tests.support.analysed_once import analysed_once
from tests.support.stored_study import received_study

WEIGHTS = Path(models.__file__).parent / "weights"


@dataclass(frozen=True)
class Certain:
    """Networks whose contours are those of others, and which are certain of every lesion."""

    others: Analyser
    probability: float

    def analyse(self, t1: Volume, stir: Volume) -> Analysis:
        found = self.others.analyse(t1, stir)
        scores = tuple(replace(one, probability=self.probability) for one in found.findings)
        return replace(found, findings=scores)


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
        assert newest_jobs(store.table.database) == [job]
        assert deliveries_of(store.table.database, job.job_id) == ()


def test_scores_of_other_weights_are_shown_beside_the_present_ones(tmp_path: Path):
    config_file = set_up(tmp_path / "node", "MODALITY", free_port()).config
    job = received_study(config_file, tmp_path / "images")
    networks = Analyser.load(WEIGHTS)
    before, after = Certain(networks, 0.0), Certain(networks, 1.0)

    with open_store(load_config(config_file)) as store, analysed_once():
        (study,) = compare_studies(store.table, store.spool, [job], before, after)

    assert {(one.before, one.after, one.changes_sides) for one in study.scores} == {
        (0.0, 1.0, True)
    }
    assert len({one.position for one in study.scores}) == 28
    assert study.contour_mm == 0.0
