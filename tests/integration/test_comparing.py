"""Stored studies are analysed with other weights too; nothing is sent and no job changes."""

import json
import zipfile
from pathlib import Path

import models
from deploy.trial import free_port, set_up
from sij_node.config import DeliveryConfig, PeerConfig, load_config
from sij_node.doctor.trial import STUDY
from sij_node.jobs import Job
from sij_node.network.folder import contents_of
from sij_node.network.sender import Sender
from sij_node.node import compare, open_store
from tests.support.listening import listening

WEIGHTS = Path(models.__file__).parent / "weights"


def received_study(config_file: Path, folder: Path) -> Job:
    """The doctor's phantom, as a scanner would have sent it."""
    with zipfile.ZipFile(STUDY) as bundle:
        bundle.extractall(folder)
    config = load_config(config_file)
    with open_store(config) as store:

        def register(instance):
            return store.table.register(instance, 5, opens_job=True)

        with listening(config.node.data_folder, register=register) as node:
            port = node.listener.port
            peer = PeerConfig(ae_title="SIJ", networks=("127.0.0.1",), host="127.0.0.1", port=port)
            sent = list(
                Sender("MODALITY", DeliveryConfig()).send(peer, contents_of(folder).objects)
            )
        assert all(one.acknowledged for one in sent)
        return store.table.jobs()[0]


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
