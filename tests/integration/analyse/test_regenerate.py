"""Results of a stored study are regenerated into a folder and rendered; nothing is sent."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from deploy.trial import free_port, set_up
from sij_node.analyse.analysis_process import AnalysisRequest
from sij_node.analyse.inference import InferenceServer, load_networks
from sij_node.config.profiles import Profile
from sij_node.config.settings import Config, load_config
from sij_node.domain.job import Job
from sij_node.errors import UnknownJob, UnknownName
from sij_node.processes.assembly import open_store
from sij_node.processes.offline_analysis import write_results
from sij_node.store.change_log import newest_changes
from sij_node.store.deliveries import deliveries_of
from sij_node.store.job_queries import newest_jobs
from sij_node.store.registration import received_instances
from tests.support.analysed_once import analysed_once
from tests.support.stored_study import received_study

EVERYTHING = [
    *("01-seg-t1.dcm", "02-seg-stir.dcm", "03-findings-t1.dcm", "04-findings-stir.dcm"),
    *("05-scores.dcm", "06-presentation-t1.dcm", "07-presentation-stir.dcm"),
    *("08-summary.dcm", "09-pdf.dcm"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Job]:
    """A node that has received a study and sent its results."""
    folder = tmp_path_factory.mktemp("node")
    config_file = set_up(folder, "MODALITY", free_port()).config
    job, config = received_study(config_file, folder / "images"), load_config(config_file)
    with open_store(config) as store:
        store.table.settle(job, "quiet")
        claimed = store.table.claim("worker 1")
        order = AnalysisRequest(
            received_instances(store.table.database, job.study_uid), (), job.source_ae
        )
        made = (
            InferenceServer({"": load_networks(config, "")}, store.spool, config)
            .analyse(order)
            .results
        )
        store.table.store_results(claimed, made, job.source_ae, "worker 1")
    return config, job


@pytest.fixture(scope="module", autouse=True)
def networks_run_once(node: tuple[Config, Job]) -> Iterator[None]:
    """What the node sent came from an analysis of its own; all later ones share another."""
    with analysed_once():
        yield


def written(
    node: tuple[Config, Job], folder: Path, profile: str = "", *, drawn=False
) -> list[Path]:
    config, job = node
    return list(write_results(config, job.study_uid, folder, profile, "anna", as_pictures=drawn))


def test_what_the_sender_got_is_made_again_byte_for_byte(node, tmp_path):
    config, job = node

    files = written(node, tmp_path)

    with open_store(config) as store:
        sent = [one.result.sha256 for one in deliveries_of(store.table.database, job.job_id)]
    assert sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files) == sorted(sent)


def test_any_profile_can_be_requested_and_the_export_is_audited(node, tmp_path):
    config, job = node

    files = written(node, tmp_path, "everything")

    assert [file.name for file in files] == EVERYTHING
    assert {str(dcmread(file).StudyInstanceUID) for file in files} == {job.study_uid}
    assert all("revision" not in dcmread(file).SeriesDescription for file in files)
    with open_store(config) as store:
        change = newest_changes(store.table.database)[0]
        assert len(newest_jobs(store.table.database)) == 1
    assert (change.who, change.action, change.note) == ("anna", "write results", "everything")


def test_a_receiver_that_aborts_after_one_file_is_still_audited(node, tmp_path):
    config, job = node

    taking = write_results(config, job.study_uid, tmp_path, "", "berta", as_pictures=False)
    next(taking)
    taking.close()

    with open_store(config) as store:
        assert (
            newest_changes(store.table.database)[0].who,
            newest_changes(store.table.database)[0].action,
        ) == (
            "berta",
            "write results",
        )


def test_the_key_slices_the_summary_and_the_page_are_drawn(node, tmp_path):
    pictures = {
        file.name: np.asarray(Image.open(file)) for file in written(node, tmp_path, drawn=True)
    }

    kinds = {name.split("-")[0].removesuffix(".png") for name in pictures}
    assert kinds == {"place", "summary", "pdf"}
    assert all(np.ptp(picture) > 200 for picture in pictures.values())


def test_pictures_are_in_the_words_of_the_profile(node, tmp_path):
    config, job = node
    german = Profile(
        name="ward", based_on="everything", language="de", summary_compression="jpeg-ls"
    )
    known = config.model_copy(update={"profile": (german,)})
    english, other = (
        {
            file.name: file.read_bytes()
            for file in written((known, job), tmp_path / name, name, drawn=True)
        }
        for name in ("minimal", "ward")
    )

    changed = {name for name, content in english.items() if other[name] != content}
    assert changed == {name for name in english if name.startswith(("summary", "pdf"))}


def test_unknown_studies_and_profiles_are_reported(node, tmp_path):
    config, _ = node

    with pytest.raises(UnknownJob, match=r"There is no study 1\.2\.3\.4"):
        list(write_results(config, "1.2.3.4", tmp_path, "", "anna", as_pictures=False))
    with pytest.raises(UnknownName, match="everything"):
        written(node, tmp_path, "nothing")
