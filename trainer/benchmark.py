"""How long one study takes, stage by stage: ``python -m trainer benchmark``."""

import statistics
from pathlib import Path
from typing import Annotated

import torch
import typer

from models.analyser import Analyser
from trainer.phantom.case import PhantomOptions, make_case


def benchmark(
    weights: Path = Path("models/weights"),
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves the number as it is.")] = 0,
    repeats: int = 5,
) -> None:
    """Time the analysis of a phantom study of 20 T1 and 20 STIR slices; medians in seconds."""
    case = make_case(1, PhantomOptions(slices=20, matrix=320))
    analyser = Analyser.load(weights, threads=threads)
    analyser.analyse(case.t1, case.stir)
    runs = [analyser.analyse(case.t1, case.stir).seconds for _ in range(repeats)]
    for stage in runs[0]:
        print(f"{stage}: {statistics.median(run[stage] for run in runs):.2f} s")
    total = statistics.median(sum(run.values()) for run in runs)
    print(f"all: {total:.2f} s on {analyser.device} with {torch.get_num_threads()} threads")
