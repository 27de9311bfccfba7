"""Inference time of one study by stage: ``python -m trainer benchmark``.

Each network is also timed separately and compared with the time its arithmetic takes at least;
the lesion network also in half precision and joint by joint.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from models.analyser import Analyser
from models.lesion_resnet34 import LesionResNet34
from models.orientation import canonical
from models.precision import mixed_precision
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case


def benchmark(
    weights: Path = SHIPPED_WEIGHTS,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 keeps the default.")] = 0,
    repeats: int = 5,
    half: Annotated[bool, typer.Option("--half", help="Compute in half precision.")] = False,
) -> None:
    """Time the analysis of a phantom study with 20 T1 and 20 STIR slices; medians in seconds."""
    case = make_case(1, PhantomOptions(slices=20, matrix=320))
    analyser = Analyser.load(weights, threads=threads, mixed=half)
    analyser.analyse(case.t1, case.stir)
    runs = [analyser.analyse(case.t1, case.stir).seconds for _ in range(repeats)]
    for stage in runs[0]:
        print(f"{stage}: {statistics.median(run[stage] for run in runs):.2f} s")
    total = statistics.median(sum(run.values()) for run in runs)
    device = analyser.identities[0].device
    print(f"total: {total:.2f} s on {device} with {torch.get_num_threads()} threads")
    print(_delineation(analyser, case, repeats))
    print(_scoring(analyser, case, repeats))


def _delineation(analyser: Analyser, case: PhantomCase, repeats: int) -> str:
    """Contours per second, and the network's arithmetic floor."""
    volumes = (canonical(case.t1), canonical(case.stir))
    contours = sum(len(seen.delineation.contours) for seen in analyser.delineate(volumes))
    taken_s = _median_s(lambda: analyser.delineate(volumes), repeats)
    with FlopCounterMode(display=False) as counter:
        analyser.delineate(volumes)
    gflop, rate = counter.get_total_flops() / 1e9, _convolution_gflops(analyser.device, repeats)
    return (
        f"delineation: {contours} contours in {taken_s:.3f} s, {contours / taken_s:.0f} a second; "
        f"{gflop:.0f} GFLOP (floor {gflop / rate:.3f} s at {rate:.0f} GFLOP/s)"
    )


def _scoring(analyser: Analyser, case: PhantomCase, repeats: int) -> str:
    """Time of the lesion network on both joints and sequences, and its minimum time."""
    seen = _what_is_scored(analyser, case)
    one_by_one = [tuple(part[[n]] for part in seen) for n in range(len(seen[0]))]
    network = analyser.lesion

    def batched(half: bool) -> float:
        with torch.inference_mode(), mixed_precision(analyser.device, half):
            return _median_s(lambda: network.feature_maps(*seen), repeats)

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.feature_maps(*seen)
    with torch.inference_mode():
        apart_s = _median_s(lambda: [network.feature_maps(*one) for one in one_by_one], repeats)
    gflop, rate = counter.get_total_flops() / 1e9, _convolution_gflops(analyser.device, repeats)
    return (
        f"scoring: network {batched(half=False):.3f} s in one batch for {gflop:.0f} GFLOP "
        f"(minimum {gflop / rate:.3f} s at {rate:.0f} GFLOP/s), {apart_s:.3f} s joint by joint, "
        f"{batched(half=True):.3f} s in half precision"
    )


def _what_is_scored(
    analyser: Analyser, case: PhantomCase
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The batch that an analysis passes to the network: crops, zones, present slices."""
    given: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    class RecordingNetwork:
        """The lesion network, recording its input."""

        def __getattr__(self, name: str) -> Any:
            return getattr(analyser.lesion, name)

        def __call__(self, *described: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = analyser.lesion(*described)
            return logits

        def feature_maps(self, *seen: torch.Tensor) -> torch.Tensor:
            given.append((seen[0], seen[1], seen[2]))
            return analyser.lesion.feature_maps(*given[-1])

    recording = replace(analyser, lesion=cast(LesionResNet34, RecordingNetwork()))
    recording.analyse(case.t1, case.stir)
    return given[0]


def _convolution_gflops(device: torch.device, repeats: int) -> float:
    """Throughput of plain 3 × 3 convolutions in single precision on this device."""
    images = torch.rand(8, 64, 112, 112, device=device).to(memory_format=torch.channels_last)
    convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(device)
    convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        taken_s = _median_s(lambda: convolution(images), repeats)
    return 2 * 64 * 64 * 9 * images[:, :1].numel() / taken_s / 1e9


def _median_s(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats + 1):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])
