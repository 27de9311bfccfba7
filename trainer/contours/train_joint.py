"""Trains the joint networks: ``python -m trainer train-joint close``.

The learning rate falls along half a cosine over the minutes that are granted, so that training
ends well on any machine; the weights that are kept are a running average, and one of every 250
steps stays, as the last is not always the best on real images. A run that was stopped goes on
where it was, and one that has ended goes on when more minutes are granted. Slabs that are drawn
meanwhile are taken in.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from models.joint_unet import JointArchitectures, JointUNet
from trainer.command_options import Threads
from trainer.contours.slab_training import (
    Batch,
    JointStocks,
    close_batches,
    close_loss,
    field_batches,
    field_loss,
)
from trainer.distributed import use_threads
from trainer.malloc import keep_freed_memory
from trainer.phantom.draw_slabs import CACHE, SlabKind
from trainer.training_curves import CURVES, LOSS, RATE, draw_curves
from trainer.training_log import LogValues, read_history, run_log
from trainer.training_loop import (
    BEST,
    SILENT_S,
    SMOOTHING,
    VALIDATION_LOSS,
    VALIDATIONS,
    BestSoFar,
    duration,
    finite,
    write_checkpoint,
)

WARM_UP_STEPS = 100
AVERAGING = 0.995
STEPS_PER_CHECKPOINT, STEPS_PER_SNAPSHOT = 100, 250
SHAPES = JointArchitectures()


@dataclass(eq=False)
class JointLearner:
    """A network in training, its average, and how far it is."""

    network: JointUNet
    average: JointUNet
    optimiser: torch.optim.AdamW
    steps: int = 0
    seconds: float = 0.0
    best: BestSoFar = field(default_factory=BestSoFar)

    @classmethod
    def begun(cls, network: JointUNet, rate: float) -> "JointLearner":
        """With the first weights."""
        optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=3e-2)
        return cls(network, copy.deepcopy(network), optimiser)

    def learn(self, loss: Tensor, rate: float) -> None:
        """One step at a learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * min(1.0, (self.steps + 1) / WARM_UP_STEPS)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self.steps += 1
        self._average()

    def _average(self) -> None:
        share = min(AVERAGING, self.steps / (self.steps + 20))
        now = self.network.state_dict()
        with torch.no_grad():
            for name, kept in self.average.state_dict().items():
                if kept.dtype.is_floating_point:
                    kept.lerp_(now[name], 1 - share)
                else:
                    kept.copy_(now[name])

    def keep(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "best": asdict(self.best),
        }
        write_checkpoint(state, path)

    def keep_average(self, path: Path) -> None:
        """Write the average alone: one of several to choose from later."""
        average = self.average.state_dict()
        write_checkpoint({"average": average, "steps": self.steps, "seconds": self.seconds}, path)

    def resume(self, path: Path) -> None:
        """Go on where a checkpoint left off, if there is one."""
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.seconds = int(state["steps"]), float(state["seconds"])
        self.best = BestSoFar(**state.get("best", {}))


Loss = Callable[[JointUNet, Iterator[Batch], torch.Generator], Tensor]


def _close(network: JointUNet, drawn: Iterator[Batch], generator: torch.Generator) -> Tensor:
    images, lines, visible = next(drawn)
    with torch.autocast("cpu", torch.bfloat16):
        maps, logits = network(images.to(memory_format=torch.channels_last))
    return close_loss(maps.float(), logits.float(), lines, visible, generator)


def _field(network: JointUNet, drawn: Iterator[Batch], _: torch.Generator) -> Tensor:
    images, lines, _visible = next(drawn)
    with torch.autocast("cpu", torch.bfloat16):
        maps, _logits = network(images.to(memory_format=torch.channels_last))
    return field_loss(maps.float(), lines)


_PLANS = {
    SlabKind.CLOSE: (close_batches, _close),
    SlabKind.FIELD: (field_batches, _field),
}


class _Drawn(IterableDataset[Batch]):
    """Batches as PyTorch's workers want them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches


def drawn_beside(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, drawn by another process so that training never waits for them."""
    loader = DataLoader(
        _Drawn(batches),
        batch_size=None,
        num_workers=1,
        prefetch_factor=4,
        multiprocessing_context="fork",
    )
    return iter(loader)


def train_joint(
    kind: SlabKind,
    minutes: Annotated[float, typer.Option(help="Of training, in all stages together.")] = 60.0,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 16,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
    cache: Annotated[Path, typer.Option(help="Where draw-slabs keeps its files.")] = CACHE,
    runs: Annotated[Path, typer.Option(help="Where the checkpoint is kept.")] = Path("runs"),
    threads: Threads = 0,
) -> None:
    """Train one of the joint networks until its minutes are over."""
    keep_freed_memory()
    use_threads(threads)
    torch.manual_seed(seed)
    architecture = SHAPES.finder if kind is SlabKind.FIELD else SHAPES.delineator
    stocks = JointStocks.of(cache, kind)
    if not len(stocks.slabs):
        raise typer.BadParameter(f"{cache / kind} holds no slabs: run draw-slabs --kind {kind}")
    learner = JointLearner.begun(JointUNet(architecture), rate)
    train_until(learner, stocks, JointPlan(kind, minutes, batch, rate, seed), runs)


@dataclass(frozen=True)
class JointPlan:
    """How a joint network is trained; the parameters are those of `train_joint`."""

    kind: SlabKind
    minutes: float
    batch: int
    rate: float
    seed: int

    def rate_after(self, seconds: float) -> float:
        """The learning rate, which falls along half a cosine."""
        falling = 0.5 * (1 + float(np.cos(np.pi * seconds / (60 * self.minutes))))
        return max(self.rate * falling, 1e-6)

    def validates_between(self, before: float, after: float) -> bool:
        """Whether one of the evenly spaced validations is due between two times in seconds."""
        interval = 60 * self.minutes / VALIDATIONS
        return int(before / interval) < int(after / interval)


@dataclass(frozen=True, eq=False)
class JointValidation:
    """Measures a network while it trains, and keeps the best of its averages.

    Parameters
    ----------
    measure
        Of a network, on cases not used for training: ``validation loss`` and any other values.
    patience
        Measurements without a lower loss after which training stops; 0 for never.
    """

    measure: Callable[[JointUNet], Mapping[str, float]]
    patience: int = 0

    def stops(self, learner: JointLearner) -> bool:
        """Whether patience is exhausted."""
        return bool(self.patience) and learner.best.waited >= self.patience

    def after(self, learner: JointLearner, best: Path) -> Mapping[str, float]:
        """Measure the average; write it if it is the best so far."""
        measured = self.measure(learner.average.eval())
        if learner.best.update(measured[VALIDATION_LOSS], learner.steps):
            learner.keep_average(best)
        return measured


def train_until(
    learner: JointLearner,
    stocks: JointStocks,
    plan: JointPlan,
    runs: Path,
    validation: JointValidation | None = None,
) -> None:
    """Train until the plan's minutes are over, from the checkpoint in `runs` if there is one.

    Parameters
    ----------
    validation
        Measures the average ten times, and stops early when it no longer improves; without it the
        average at the end is the one to keep.
    """
    runs.mkdir(parents=True, exist_ok=True)
    checkpoint = runs / f"{plan.kind}.pt"
    learner.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner.resume(checkpoint)
    generator = torch.Generator().manual_seed(plan.seed + learner.steps)
    batches, loss_of = _PLANS[plan.kind]
    logs = runs / plan.kind
    logs.mkdir(exist_ok=True)
    report = _Report(learner, plan, run_log(logs, asdict(plan), learner.steps))
    drawn = drawn_beside(batches(stocks, plan.batch, generator))
    while learner.seconds < 60 * plan.minutes and not (validation and validation.stops(learner)):
        started, before = time.monotonic(), learner.seconds
        loss = loss_of(learner.network, drawn, generator)
        learner.learn(loss, plan.rate_after(learner.seconds))
        learner.seconds += time.monotonic() - started
        report.update(loss.item())
        if validation and plan.validates_between(before, learner.seconds):
            report.validated(validation.after(learner, runs / f"{plan.kind}-{BEST}"))
        if learner.steps % STEPS_PER_SNAPSHOT == 0:
            learner.keep_average(runs / f"{plan.kind}-{learner.steps:06d}.pt")
        if learner.steps % STEPS_PER_CHECKPOINT == 0:
            learner.keep(checkpoint)
    learner.keep(checkpoint)
    draw_curves(read_history(logs), f"{runs.name} {plan.kind}", logs / CURVES)


def best_average(learner: JointLearner, kind: SlabKind, runs: Path) -> Mapping[str, Tensor]:
    """The average with the lowest validation loss; the last where none was measured."""
    if not learner.best.step:
        return learner.average.state_dict()
    kept: dict[str, Any] = torch.load(runs / f"{kind}-{BEST}", weights_only=True)
    return dict(kept["average"])


class _Report:
    """Prints and logs the progress of a training that ends after some minutes."""

    def __init__(self, learner: JointLearner, plan: JointPlan, log: LogValues) -> None:
        self._learner, self._plan, self._log = learner, plan, log
        self._recent = 0.0
        self._reported = -math.inf

    def update(self, loss: float) -> None:
        """Report the first step, every STEPS_PER_CHECKPOINT steps, and at least as often."""
        self._recent = SMOOTHING * self._recent + (1 - SMOOTHING) * loss if self._recent else loss
        now, steps = time.monotonic(), self._learner.steps
        if steps % STEPS_PER_CHECKPOINT and now < self._reported + SILENT_S:
            return
        self._reported = now
        rate = self._plan.rate_after(self._learner.seconds)
        left = duration(max(0.0, 60 * self._plan.minutes - self._learner.seconds))
        print(f"step {steps} loss {self._recent:.4f}, {left} left", flush=True)
        self._log(steps, {LOSS: self._recent, RATE: rate})

    def validated(self, measured: Mapping[str, float]) -> None:
        """Report a validation."""
        known, steps = finite(measured), self._learner.steps
        print(f"step {steps} {self._learner.best.in_words(known, steps)}", flush=True)
        self._log(steps, known)
