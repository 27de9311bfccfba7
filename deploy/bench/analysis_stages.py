"""Analysis time of one study, stage by stage, in one process with the shipped weights.

The networks are timed separately and compared with the time this machine needs for the same number
of operations as plain single-precision convolutions.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from pydicom import dcmread
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from deploy.bench.ingest import Report
from models.analyser import Analyser, Analysis
from models.delineate import ContourNetwork
from models.lesion_resnet34 import LesionResNet34
from models.volume import Volume
from sij_node.analyse.pipeline import Ports, analyse_study
from sij_node.dicom.part10 import read_file_meta
from sij_node.domain.study import ReceivedInstance
from sij_node.store.spool import Spool, instance_file_name
from sij_node.store.stored_instances import read_checked, read_header
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case
from trainer.phantom.dicom_files import write_study

SEED = 1
SLICES = 20
DELINEATION, LESIONS = "delineation (network)", "lesions (network)"
NETWORKS = (DELINEATION, LESIONS)
_FLOOR_CHANNELS, _FLOOR_SIZE_PX, _FLOOR_IMAGES = 128, 64, 8
_FLOOR_ROUNDS = 12

Seconds = dict[str, float]


@dataclass(frozen=True)
class StudyTimes:
    """Medians of several runs.

    Parameters
    ----------
    seconds
        By stage, in order of execution.
    floor_s
        Per network: its operations at the speed of a plain convolution.
    gigaflops
        Speed of the plain convolution, in 10^9 floating point operations per second.
    """

    seconds: Seconds
    floor_s: Seconds
    gigaflops: float
    t1_shape: tuple[int, ...]
    stir_shape: tuple[int, ...]
    networks: str
    device: str
    threads: int
    repeats: int

    @property
    def network_s(self) -> float:
        """Time spent in the networks."""
        return sum(self.seconds[name] for name in NETWORKS)

    @property
    def rest_s(self) -> float:
        """Time spent outside the networks."""
        return sum(self.seconds.values()) - self.network_s


def phantom_case() -> PhantomCase:
    """The phantom patient of every measurement."""
    return make_case(SEED, PhantomOptions(slices=SLICES))


def measure_study(
    folder: Path, weights: Path, case: PhantomCase, repeats: int, report: Report
) -> StudyTimes:
    """Analyse one study several times, after a warm-up."""
    report("study: loading the networks")
    analyser = Analyser.load(weights)
    spool = Spool(folder / "spool")
    received = [receive(spool, file) for file in write_study(case, folder / "images")]
    report("study: warming up, counting operations")
    operations = _operations(analyser, spool, received)
    runs = []
    for repeat in range(repeats):
        report(f"study: stage by stage, {repeat + 1} of {repeats}")
        runs.append(_run(analyser, spool, received))
    per_s = _operations_per_s(analyser.device)
    return StudyTimes(
        {stage: median(run[stage] for run in runs) for stage in runs[0]},
        {name: count / per_s for name, count in operations.items()},
        per_s / 1e9,
        case.t1.voxels.shape,
        case.stir.voxels.shape,
        ", ".join(f"{one.name} {one.version}" for one in analyser.identities),
        str(analyser.device),
        torch.get_num_threads(),
        repeats,
    )


def receive(spool: Spool, file: Path) -> ReceivedInstance:
    """Store a file in the spool, as the listener does."""
    content = file.read_bytes()
    header = dcmread(file, stop_before_pixels=True)
    name = instance_file_name(header.SOPInstanceUID)
    with spool.stage() as staged:
        staged.write(content)
        staged.keep(name)
    dataset = content[read_file_meta(content).dataset_offset :]
    return ReceivedInstance(
        sop_instance_uid=str(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        patient_id=str(header.PatientID),
        issuer_of_patient_id="",
        source_ae="BENCH",
        file_name=name,
        size_bytes=len(dataset),
        sha256=hashlib.sha256(dataset).hexdigest(),
        received_at=datetime.now(UTC),
    )


class _Stopwatch:
    """Accumulates the duration of each stage by name."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._stage, self._since = "", 0.0

    def begin(self, stage: str) -> None:
        """End the current stage and begin the next; an empty name only ends the current one."""
        now = time.perf_counter()
        if self._stage:
            self.add(self._stage, now - self._since)
        self._stage, self._since = stage, now

    def add(self, stage: str, amount: float) -> None:
        """Add an amount to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0) + amount


class _Timed:
    """A network whose calls are timed; other attributes are passed through."""

    def __init__(self, network: Any, watch: _Stopwatch, stage: str) -> None:
        self._network, self._watch, self._stage = network, watch, stage

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self._clocked(self._network, inputs)

    def feature_maps(self, *inputs: torch.Tensor) -> Any:
        return self._clocked(self._network.feature_maps, inputs)

    def find(self, *inputs: torch.Tensor) -> Any:
        return self._clocked(self._network.find, inputs)

    def delineate(self, *inputs: torch.Tensor) -> Any:
        return self._clocked(self._network.delineate, inputs)

    def pooled(self, *inputs: torch.Tensor) -> Any:
        return self._clocked(self._network.pooled, inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def _clocked(self, function: Any, inputs: Sequence[torch.Tensor]) -> Any:
        began = time.perf_counter()
        answer = function(*inputs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._watch.add(self._stage, time.perf_counter() - began)
        return answer


def _timed(analyser: Analyser, watch: _Stopwatch) -> Analyser:
    return replace(
        analyser,
        contour=cast(ContourNetwork, _Timed(analyser.contour, watch, DELINEATION)),
        lesion=cast(LesionResNet34, _Timed(analyser.lesion, watch, LESIONS)),
    )


def _run(analyser: Analyser, spool: Spool, received: Sequence[ReceivedInstance]) -> Seconds:
    """The pipeline as the node runs it, with its stages and both networks timed."""
    watch, networks = _Stopwatch(), _Stopwatch()
    within: Seconds = {}

    def analyse(t1: Volume, stir: Volume) -> Analysis:
        watch.begin("")
        analysis = _timed(analyser, networks).analyse(t1, stir)
        within.update(analysis.seconds)
        return analysis

    header, dataset = partial(read_header, spool), partial(read_checked, spool)
    analyse_study(received, (), Ports(header, dataset, analyse, watch.begin, "BENCH"))
    watch.begin("")
    of_pipeline, of_networks = watch.seconds, networks.seconds
    return {
        "read, check digests, decode": of_pipeline["reading"],
        DELINEATION: of_networks[DELINEATION],
        "prepare slices, walk": within["delineation"] - of_networks[DELINEATION],
        "regions": within["regions"],
        LESIONS: of_networks[LESIONS],
        "crops, lesion positions": within["lesions"] - of_networks[LESIONS],
        "two SEG and the SR, as files": of_pipeline["writing"],
        "read back and check": of_pipeline["checking"],
    }


class _Counted(_Timed):
    """A network whose floating point operations are counted instead of its time."""

    def _clocked(self, function: Any, inputs: Sequence[torch.Tensor]) -> Any:
        with FlopCounterMode(display=False) as counter:
            answer = function(*inputs)
        self._watch.add(self._stage, counter.get_total_flops())
        return answer


def _operations(
    analyser: Analyser, spool: Spool, received: Sequence[ReceivedInstance]
) -> dict[str, float]:
    """Floating point operations of each network for this study."""
    tally = _Stopwatch()
    counting = replace(
        analyser,
        contour=cast(ContourNetwork, _Counted(analyser.contour, tally, DELINEATION)),
        lesion=cast(LesionResNet34, _Counted(analyser.lesion, tally, LESIONS)),
    )
    header, dataset = partial(read_header, spool), partial(read_checked, spool)
    analyse_study(received, (), Ports(header, dataset, counting.analyse, ae_title="BENCH"))
    return tally.seconds


def _operations_per_s(device: torch.device) -> float:
    """The fastest of several plain 3 x 3 convolutions in single precision."""
    channels, size = _FLOOR_CHANNELS, _FLOOR_SIZE_PX
    layout = torch.channels_last
    images = torch.rand(_FLOOR_IMAGES, channels, size, size, device=device).to(memory_format=layout)
    weights = torch.rand(channels, channels, 3, 3, device=device).to(memory_format=layout)
    operations = 2 * 9 * channels**2 * _FLOOR_IMAGES * size**2
    fastest_s = float("inf")
    with torch.inference_mode():
        for _ in range(_FLOOR_ROUNDS):
            began = time.perf_counter()
            conv2d(images, weights, padding=1)
            if device.type == "cuda":
                torch.cuda.synchronize()
            fastest_s = min(fastest_s, time.perf_counter() - began)
    return operations / fastest_s
