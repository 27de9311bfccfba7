"""Time to build and check each kind of result object, and its size.

One study is analysed once; then each kind in an output profile is built alone, several times, with
and without lossless compression of the images.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

from deploy.bench.analysis_stages import receive
from deploy.bench.ingest import Report
from deploy.bench.servers import MeasurementFailed
from models.analyser import Analyser
from sij_node import __version__
from sij_node.analyse.pipeline import Ports, analyse_study
from sij_node.config.profiles import Profile, preset
from sij_node.results.build import AnalysedStudy, result_objects
from sij_node.results.provenance import AlgorithmIdentity, ResultContext, to_part10
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_checked, read_header
from sij_node.verify.check_results import check_results
from sij_node.verify.expected_results import ExpectedResults
from trainer.phantom.case import PhantomCase
from trainer.phantom.dicom_files import write_study


@dataclass(frozen=True)
class ObjectCost:
    """One kind of result object; medians of several runs.

    Parameters
    ----------
    count
        Objects of this kind in a study.
    size_bytes
        Total size as files.
    """

    name: str
    count: int
    made_s: float
    checked_s: float
    size_bytes: int


def measure_objects(
    folder: Path, weights: Path, case: PhantomCase, repeats: int, report: Report
) -> tuple[ObjectCost, ...]:
    """Measure each kind of result object of one study."""
    report("objects: analysing one study")
    analyser = Analyser.load(weights)
    study = _analysed(folder, analyser, case)
    networks = tuple(
        AlgorithmIdentity(one.name, one.version, one.sha256) for one in analyser.identities
    )
    first = ResultContext("", networks, __version__, datetime.now(UTC))
    found = []
    for name, profile in _alone():
        report(f"objects: {name}")
        found.append(_cost(name, study, replace(first, profile=profile), repeats))
    return tuple(found)


def _alone() -> Iterator[tuple[str, Profile]]:
    """Profiles of one kind each."""
    everything = preset("everything")
    for kind in everything.objects:
        yield kind, everything.model_copy(update={"objects": (kind,)})
    compressed = {"objects": ("summary",), "summary_compression": "jpeg-ls"}
    yield "summary, JPEG-LS", everything.model_copy(update=compressed)


def _analysed(folder: Path, analyser: Analyser, case: PhantomCase) -> AnalysedStudy:
    spool = Spool(folder / "spool")
    received = [receive(spool, file) for file in write_study(case, folder / "images")]
    header, dataset = partial(read_header, spool), partial(read_checked, spool)
    study = analyse_study(received, (), Ports(header, dataset, analyser.analyse)).study
    if study is None:
        raise MeasurementFailed("the phantom study was not analysed")
    return study


def _cost(name: str, study: AnalysedStudy, context: ResultContext, repeats: int) -> ObjectCost:
    evidence = ExpectedResults(
        tuple(study.headers),
        study.series,
        tuple(study.findings),
        context.since,
        burden=tuple(study.burden),
    )
    made_s, checked_s, files = [], [], list[bytes]()
    for _ in range(repeats + 1):  # the first run warms up
        began = time.perf_counter()
        files = [to_part10(one.dataset, "BENCH") for one in result_objects(study, context)]
        made = time.perf_counter()
        check_results(files, evidence)
        made_s.append(made - began)
        checked_s.append(time.perf_counter() - made)
    sizes = sum(map(len, files))
    return ObjectCost(name, len(files), median(made_s[1:]), median(checked_s[1:]), sizes)
