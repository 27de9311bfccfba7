"""Compares two sets of weights on stored studies; sends nothing and changes no job."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from models.analyser import Analyser, Analysis
from models.volume import Volume
from models.weights import WeightsInvalid
from sij_node.analyse.inference import load_networks, names_and_versions, networks_in
from sij_node.analyse.pipeline import Ports, analyse_study
from sij_node.config.settings import Config
from sij_node.domain.job import Job
from sij_node.domain.weights_comparison import (
    StudyComparison,
    WeightsComparison,
    WeightsOutput,
    compared,
)
from sij_node.errors import InputRejected, StoredCopyDamaged, WeightsRefused
from sij_node.store.deliveries import results_sent_before
from sij_node.store.job_table import JobTable
from sij_node.store.received_copies import unsettled_conflicts
from sij_node.store.registration import received_instances
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_checked, read_header


def compare_weights(
    config: Config, table: JobTable, spool: Spool, folder: Path, jobs: Iterable[Job]
) -> WeightsComparison:
    """Compare the weights of [worker] with those of a folder, and save the comparison.

    It is saved as JSON in the folder ``comparisons`` of the data folder.

    Raises
    ------
    WeightsRefused
    """
    before, after = load_networks(config, ""), _networks_in(folder, config)
    studies = tuple(compare_studies(table, spool, jobs, before, after))
    comparison = WeightsComparison(names_and_versions(before), names_and_versions(after), studies)
    saved = config.node.data_folder / "comparisons"
    saved.mkdir(mode=0o700, exist_ok=True)
    file = saved / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(comparison.as_json(), indent=2))
    return comparison


def _networks_in(folder: Path, config: Config) -> Analyser:
    try:
        return networks_in(folder, config.worker, config.lesions.choice)
    except WeightsInvalid as error:
        raise WeightsRefused(f"The networks in {folder} cannot be used: {error}") from error


def compare_studies(
    table: JobTable, spool: Spool, jobs: Iterable[Job], before: Analyser, after: Analyser
) -> Iterator[StudyComparison]:
    """Analyse the study of each job with both sets of weights."""
    for job in jobs:
        try:
            yield _compare(table, spool, job, before, after)
        except (InputRejected, StoredCopyDamaged) as error:
            yield StudyComparison(job.job_id, job.study_uid, remark=str(error))


def _compare(
    table: JobTable, spool: Spool, job: Job, before: Analyser, after: Analyser
) -> StudyComparison:
    """Run the usual pipeline once, with both sets of weights on the same volumes."""
    outputs: list[WeightsOutput] = []

    def analyse(t1: Volume, stir: Volume) -> Analysis:
        outputs.extend(WeightsOutput(t1, stir, one.analyse(t1, stir)) for one in (before, after))
        return outputs[0].analysis

    ports = Ports(
        header=partial(read_header, spool), dataset=partial(read_checked, spool), analyse=analyse
    )
    images = received_instances(table.database, job.study_uid)
    history = results_sent_before(table.database, job)
    conflicts = unsettled_conflicts(table.database, job.study_uid, history)
    study = analyse_study(images, conflicts, ports)
    if study.rejected is not None:
        return StudyComparison(job.job_id, job.study_uid, remark=str(study.rejected))
    return compared(job.job_id, job.study_uid, *outputs)
