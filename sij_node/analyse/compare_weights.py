"""Runs two sets of weights on stored studies; nothing is sent and no job changes."""

from collections.abc import Iterable, Iterator
from functools import partial

from models.analyser import Analyser, Analysis
from models.volume import Volume
from sij_node.analyse.pipeline import Ports, analyse_study
from sij_node.domain.job import Job
from sij_node.domain.weights_comparison import StudyComparison, WeightsOutput, compared
from sij_node.errors import InputRejected, StoredCopyDamaged
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_checked, read_header


def compare_studies(
    table: JobTable, spool: Spool, jobs: Iterable[Job], before: Analyser, after: Analyser
) -> Iterator[StudyComparison]:
    """Analyse the studies of some jobs twice, one after the other."""
    for job in jobs:
        try:
            yield _compare(table, spool, job, before, after)
        except (InputRejected, StoredCopyDamaged) as error:
            yield StudyComparison(job.job_id, job.study_uid, remark=str(error))


def _compare(
    table: JobTable, spool: Spool, job: Job, before: Analyser, after: Analyser
) -> StudyComparison:
    """The volumes are read once; the pipeline that reads them is that of every study."""
    seen: list[WeightsOutput] = []

    def analyse(t1: Volume, stir: Volume) -> Analysis:
        seen.extend(WeightsOutput(t1, stir, one.analyse(t1, stir)) for one in (before, after))
        return seen[0].analysis

    ports = Ports(
        header=partial(read_header, spool), dataset=partial(read_checked, spool), analyse=analyse
    )
    images, conflicts = table.instances(job.study_uid), table.conflicts(job.study_uid)
    study = analyse_study(images, conflicts, ports)
    if study.rejected is not None:
        return StudyComparison(job.job_id, job.study_uid, remark=str(study.rejected))
    return compared(job.job_id, job.study_uid, *seen)
