"""A study in a node's store, as sent by a scanner."""

import zipfile
from pathlib import Path

from sij_node.config.settings import DeliveryConfig, PeerConfig, load_config
from sij_node.doctor.study_round_trip import STUDY
from sij_node.domain.job import Job
from sij_node.network.dicom_folder import contents_of
from sij_node.network.store_scu import StoreScu
from sij_node.processes.assembly import open_store
from sij_node.store.job_queries import newest_jobs
from tests.support.running_listener import listening


def received_study(config_file: Path, folder: Path) -> Job:
    """The phantom study of `sij-node doctor`, as sent by a scanner."""
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
                StoreScu("MODALITY", DeliveryConfig()).send(peer, contents_of(folder).objects)
            )
        assert all(one.acknowledged for one in sent)
        return newest_jobs(store.table.database)[0]
