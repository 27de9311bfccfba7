"""The training loop: optimiser steps, learning rate schedule, validation, checkpoints, progress.

An interrupted run resumes from its last checkpoint and gives the same numbers.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from trainer.distributed import SINGLE_PROCESS, ProcessGroup
from trainer.errors import TrainingInputInvalid
from trainer.experiment import Experiment, Kept, Rate
from trainer.training_curves import CURVES, LOSS, RATE, STEP_SECONDS, VALIDATION, draw_curves
from trainer.training_log import LogValues, log_nothing, read_history, run_log

WARM_UP_STEPS = 50
STEPS_PER_CHECKPOINT = 200
FIRST_CHECKPOINTS = (10, 50)
"""A run that is stopped early, or takes long for a step, resumes from one of these."""

STEPS_PER_REPORT = 50
SILENT_S = 20.0
"""Progress is printed after the first step, every STEPS_PER_REPORT steps, and at least as often."""

VALIDATIONS = 10
"""How often a network is validated during a run, unless the experiment says otherwise."""

BETAS = (0.9, 0.999)
LONGEST_GRADIENT = 5.0
SMOOTHING = 0.98

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
VALIDATION_LOSS = VALIDATION + LOSS
UNLABELLED = "the validation cases have no labels, so nothing shows which weights are best"

Losses = Mapping[str, Tensor]
"""The parts of a loss by name; their sum is minimised."""

Measure = Callable[[], Mapping[str, float]]
"""Measures the network on the validation cases: VALIDATION_LOSS, and any other values by name."""


class TrainingDiverged(TrainingInputInvalid):
    """The loss of a training run is not finite."""


@dataclass(frozen=True, eq=False)
class Learner:
    """The training state that a checkpoint stores."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    generator: torch.Generator

    @classmethod
    def of(
        cls, network: nn.Module, plan: Experiment, generator: torch.Generator, group: ProcessGroup
    ) -> "Learner":
        """The state before the first step."""
        optimiser = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, betas=BETAS)
        short = group.precision is torch.float16
        scaler = torch.amp.GradScaler(group.device.type, enabled=short)
        return cls(network, optimiser, _schedule(optimiser, plan), scaler, generator)

    def step(self, loss: Tensor, group: ProcessGroup) -> None:
        """Take one optimiser step with the gradient averaged over the group."""
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        group.average_gradients(self.network)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_GRADIENT)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def state(self, done: int, group: ProcessGroup) -> dict[str, Any]:
        """The content of a checkpoint; every process of the group must call this."""
        group.average_statistics(self.network)
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": done,
            "random": self.generator.get_state(),
            "random_of_all": group.gathered(self.generator.get_state()),
        }

    def resume(self, states: Mapping[str, Any], group: ProcessGroup) -> int:
        """Restore the state of a checkpoint; return the number of steps already done."""
        if not states:
            return 0
        self.network.load_state_dict(states["network"])
        self.optimiser.load_state_dict(states["optimiser"])
        self.schedule.load_state_dict(states["schedule"])
        if states.get("scaler"):
            self.scaler.load_state_dict(states["scaler"])
        random = states.get("random_of_all", [states["random"]])
        if group.rank < len(random):
            self.generator.set_state(random[group.rank])
        return int(states["step"])


def _schedule(optimiser: torch.optim.Optimizer, plan: Experiment) -> LRScheduler:
    if plan.rate is Rate.CONSTANT:
        return LambdaLR(optimiser, lambda _: 1.0)
    return OneCycleLR(
        optimiser,
        plan.learning_rate,
        total_steps=plan.steps,
        pct_start=min(0.3, WARM_UP_STEPS / plan.steps),
        cycle_momentum=False,
    )


@dataclass
class BestSoFar:
    """The best validation of a run, and how many have followed without a better one."""

    loss: float = math.inf
    step: int = 0
    waited: int = 0

    def update(self, loss: float, step: int) -> bool:
        """Take in a validation; return whether it is the best. NaN, without a label, is none."""
        if math.isnan(loss):
            return False
        if loss < self.loss:
            self.loss, self.step, self.waited = loss, step, 0
            return True
        self.waited += 1
        return False

    def in_words(self, measured: Mapping[str, float], step: int) -> str:
        """What a validation found, and which has been the best; empty if there is neither."""
        said = ", ".join(f"{name} {value:.4f}" for name, value in measured.items())
        if self.step:
            said += " (best so far)" if self.step == step else f" (best: step {self.step})"
        return said


def finite(measured: Mapping[str, float]) -> dict[str, float]:
    """The values that can be printed and drawn."""
    return {name: value for name, value in measured.items() if math.isfinite(value)}


@dataclass(frozen=True, eq=False)
class _Validation:
    """Validates every few steps, keeps the best weights, and says when to stop."""

    plan: Experiment
    network: nn.Module
    measure: Measure | None
    folder: Path
    group: ProcessGroup
    log: LogValues
    best: BestSoFar = field(default_factory=BestSoFar)

    @property
    def interval(self) -> int:
        """Steps between two validations."""
        return self.plan.validation_interval or max(1, self.plan.steps // VALIDATIONS)

    @property
    def stops(self) -> bool:
        """Whether patience is exhausted."""
        return bool(self.plan.patience) and self.best.waited >= self.plan.patience

    def after(self, done: int) -> None:
        """Validate if it is due; every process of the group must call this."""
        if self.measure is None or (done % self.interval and done != self.plan.steps):
            return
        self.group.average_statistics(self.network)
        measured = dict(self.measure()) if self.group.is_main else {}
        into_training(self.network, self.plan)
        loss = self.group.from_main(measured.get(VALIDATION_LOSS, math.nan))
        is_best = self.best.update(loss, done)
        if self.group.is_main:
            self._note(done, measured, is_best)

    def _note(self, done: int, measured: Mapping[str, float], is_best: bool) -> None:
        if is_best:
            write_checkpoint({"network": self.network.state_dict()}, self.folder / BEST)
        known = finite(measured)
        said = self.best.in_words(known, done) or UNLABELLED
        print(f"step {done}/{self.plan.steps} {said}", flush=True)
        self.log(done, known)
        _draw_curves(self.folder)

    def finish(self) -> None:
        """Say what was kept, and put the best weights back if the experiment keeps those."""
        if self.stops and self.group.is_main:
            print(f"stopped: {self.best.waited} validations without a better loss")
        if self.plan.keep is Kept.BEST and self.best.step:
            kept = torch.load(self.folder / BEST, map_location="cpu", weights_only=True)
            self.network.load_state_dict(kept["network"])
            if self.group.is_main:
                print(f"the weights of step {self.best.step} are kept")


def _draw_curves(folder: Path) -> None:
    draw_curves(read_history(folder), folder.name, folder / CURVES)


def fit(
    network: nn.Module,
    losses_of_step: Callable[[int], Losses],
    experiment: Experiment,
    generator: torch.Generator,
    folder: Path,
    group: ProcessGroup = SINGLE_PROCESS,
    measure: Measure | None = None,
) -> None:
    """Train a network in place.

    Parameters
    ----------
    losses_of_step
        Draws a batch and returns the parts of its loss.
    generator
        The source of all randomness in `losses_of_step`; saved in the checkpoint.
    folder
        Where checkpoints, history, curves and the TensorBoard log are written.
    group
        The processes that train together.
    measure
        Validates the network; without it, the last weights are kept.

    Raises
    ------
    TrainingDiverged
        If the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learner, states = Learner.of(network, experiment, generator, group), _checkpoint(folder)
    first = learner.resume(states, group)
    log = run_log(folder, asdict(experiment), first) if group.is_main else log_nothing
    best = BestSoFar(**states.get("best", {}))
    validation = _Validation(experiment, network, measure, folder, group, log, best)
    report = _Report(experiment.steps, first, log)
    into_training(network, experiment)
    for done in range(first + 1, experiment.steps + 1):
        if validation.stops:
            break
        losses = losses_of_step(done - 1)
        learner.step(_total(losses), group)
        if group.is_main:
            report.update(done, losses, learner.rate)
        validation.after(done)
        if _is_checkpoint(done, experiment.steps) or validation.stops:
            state = learner.state(done, group) | {"best": asdict(best)}
            if group.is_main:
                write_checkpoint(state, folder / CHECKPOINT)
    group.barrier()
    validation.finish()
    if group.is_main and first < experiment.steps:
        _draw_curves(folder)


def into_training(network: nn.Module, plan: Experiment) -> None:
    """Training mode; batch normalisation keeps its statistics if the experiment says so."""
    network.train()
    for part in network.modules() if plan.frozen_normalisation else ():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def _total(losses: Losses) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _checkpoint(folder: Path) -> dict[str, Any]:
    """The content of a run's checkpoint; empty if there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return {}
    states: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return states


def _is_checkpoint(done: int, steps: int) -> bool:
    return done % STEPS_PER_CHECKPOINT == 0 or done in (*FIRST_CHECKPOINTS, steps)


def write_checkpoint(state: dict[str, Any], checkpoint: Path) -> None:
    """Write to a temporary name first, so that a checkpoint is always complete."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(checkpoint)


def duration(seconds: float) -> str:
    """A duration for people, for instance ``2 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class _Report:
    """Prints and logs progress every few steps."""

    def __init__(self, steps: int, first: int, log: LogValues) -> None:
        self._steps, self._first, self._log = steps, first, log
        self._started = self._reported = time.monotonic()
        self._recent: dict[str, Tensor] = {}

    def update(self, done: int, losses: Losses, rate: float) -> None:
        """Report if due; only then are the losses fetched from the device."""
        for name, loss in losses.items():
            before = self._recent.get(name, loss.detach())
            self._recent[name] = SMOOTHING * before + (1 - SMOOTHING) * loss.detach()
        now = time.monotonic()
        first, last = done == self._first + 1, done == self._steps
        if done % STEPS_PER_REPORT and not (first or last) and now < self._reported + SILENT_S:
            return
        self._reported = now
        self._say(done, rate, (now - self._started) / (done - self._first))

    def _say(self, done: int, rate: float, taken_s: float) -> None:
        parts = {name: float(loss) for name, loss in self._recent.items()}
        loss = sum(parts.values())
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss} at step {done}; reduce learning_rate, and remove the run's "
                "folder or give the experiment a new version"
            )
        parts = parts if len(parts) > 1 else {}
        detail = " (" + ", ".join(f"{n} {v:.4f}" for n, v in parts.items()) + ")" if parts else ""
        left = duration(taken_s * (self._steps - done))
        print(f"step {done}/{self._steps} loss {loss:.4f}{detail}, {left} left", flush=True)
        self._log(done, {LOSS: loss, **parts, RATE: rate, STEP_SECONDS: taken_s})
