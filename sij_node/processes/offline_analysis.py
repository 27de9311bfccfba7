"""Analyses for the command line: compare weights, write results. Loads the networks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sij_node.analyse.compare_weights import compare_weights
from sij_node.analyse.inference import load_networks, names_and_versions
from sij_node.analyse.regenerate import dicom_files_of, png_files_of, regenerate
from sij_node.audit.messages import HumanUser
from sij_node.audit.peer_events import PeerEvents
from sij_node.config.settings import Config
from sij_node.domain.job import State
from sij_node.domain.weights_comparison import WeightsComparison
from sij_node.processes.assembly import admin_for, open_store, opened_trail, prior_search
from sij_node.store.job_queries import newest_jobs
from sij_node.store.peer_activity_table import PeerActivityLog

WITH_RESULTS = (State.DELIVERED, State.CONFIRMED, State.NOT_SENT)


def check_networks(config: Config, name: str) -> str:
    """Load networks, which runs their acceptance case; returns their names and versions."""
    return names_and_versions(load_networks(config, name))


def compare(config: Config, folder: Path, job_ids: Sequence[int], last: int) -> WeightsComparison:
    """Analyse stored studies with the weights of [worker] and those of a folder.

    The comparison is also written into the folder ``comparisons`` of the data folder.

    Parameters
    ----------
    job_ids
        Jobs of the studies; if empty, the `last` jobs with results.

    Raises
    ------
    WeightsRefused, UnknownJob, DatabaseUnavailable, SpoolUnavailable
    """
    with open_store(config) as store:
        jobs = [store.table.get(job_id) for job_id in job_ids] or newest_jobs(
            store.table.database, WITH_RESULTS, last
        )
        return compare_weights(config, store.table, store.spool, folder, jobs)


def write_results(
    config: Config, study_uid: str, folder: Path, profile: str, who: str, *, as_pictures: bool
) -> Iterator[Path]:
    """Regenerate a stored study's results, or images of them, in a folder; sends nothing.

    Audited like a download, before the first file is written.

    Parameters
    ----------
    profile
        Name of an output profile; empty for that of the study's sender.

    Raises
    ------
    UnknownJob, UnknownName, ImagesCleared, WeightsRefused, DatabaseUnavailable, SpoolUnavailable
    """
    wanted = config.profile_named(profile) if profile else None
    with opened_trail(config) as trail, open_store(config) as store:
        events = PeerEvents(PeerActivityLog(store.contacts), trail, store.patient_of)
        priors_for = prior_search(config, store, events).priors_for
        stored = (config, store.table, store.spool, priors_for, study_uid)
        results = regenerate(*stored, wanted, as_pictures=as_pictures)
        folder.mkdir(parents=True, exist_ok=True)
        admin_for(config, store, trail)(HumanUser(who)).note_results_written(study_uid, profile)
        for name, content in (png_files_of if as_pictures else dicom_files_of)(results):
            (folder / name).write_bytes(content)
            yield folder / name
