"""The training loop: optimiser steps, learning rate schedule, checkpoints, progress.

An interrupted run resumes from its last checkpoint and gives the same numbers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from trainer.distributed import SINGLE_PROCESS, ProcessGroup
from trainer.experiment import Experiment, Rate
from trainer.training_log import LogValues, log_nothing, tensorboard_log

WARM_UP_STEPS = 50
STEPS_PER_CHECKPOINT = 200
FIRST_CHECKPOINTS = (10, 50)
"""A run that is stopped early, or takes long for a step, resumes from one of these."""

STEPS_PER_REPORT = 50
SILENT_S = 20.0
"""Progress is printed after the first step, every STEPS_PER_REPORT steps, and at least as often."""

BETAS = (0.9, 0.999)
LONGEST_GRADIENT = 5.0

CHECKPOINT = "checkpoint.pt"


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

    def resume(self, checkpoint: Path, group: ProcessGroup) -> int:
        """Restore the state from a checkpoint; return the number of steps already done."""
        if not checkpoint.exists():
            return 0
        states = torch.load(checkpoint, map_location="cpu", weights_only=True)
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


def fit(
    network: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    experiment: Experiment,
    generator: torch.Generator,
    folder: Path,
    group: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Train a network in place.

    Parameters
    ----------
    loss_of_step
        Draws a batch and returns its loss.
    generator
        The source of all randomness in `loss_of_step`; saved in the checkpoint.
    folder
        Where the checkpoint and the TensorBoard log are written.
    group
        The processes that train together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learner = Learner.of(network, experiment, generator, group)
    first = learner.resume(folder / CHECKPOINT, group)
    log = tensorboard_log(folder) if group.is_main else log_nothing
    report = _Report(experiment.steps, first, log)
    network.train()
    for step in range(first, experiment.steps):
        loss = loss_of_step(step)
        learner.step(loss, group)
        done = step + 1
        if group.is_main:
            report.update(done, loss.detach(), float(learner.schedule.get_last_lr()[0]))
        if _is_checkpoint(done, experiment.steps):
            state = learner.state(done, group)
            if group.is_main:
                write_checkpoint(state, folder / CHECKPOINT)
    group.barrier()


def _is_checkpoint(done: int, steps: int) -> bool:
    return done % STEPS_PER_CHECKPOINT == 0 or done in (*FIRST_CHECKPOINTS, steps)


def write_checkpoint(state: dict[str, Any], checkpoint: Path) -> None:
    """Write to a temporary name first, so that a checkpoint is always complete."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(checkpoint)


class _Report:
    """Prints and logs progress every few steps."""

    def __init__(self, steps: int, first: int, log: LogValues) -> None:
        self._steps, self._first, self._log = steps, first, log
        self._started = self._reported = time.monotonic()
        self._recent: Tensor | None = None

    def update(self, done: int, loss: Tensor, rate: float) -> None:
        """Report if due; only then is the loss fetched from the device."""
        self._recent = loss if self._recent is None else 0.98 * self._recent + 0.02 * loss
        now = time.monotonic()
        first, last = done == self._first + 1, done == self._steps
        if done % STEPS_PER_REPORT and not (first or last) and now < self._reported + SILENT_S:
            return
        self._reported, mean_loss = now, float(self._recent)
        taken_s = (now - self._started) / (done - self._first)
        left_s = taken_s * (self._steps - done)
        print(f"step {done}/{self._steps} loss {mean_loss:.4f}, {left_s:.0f} s left", flush=True)
        self._log(done, {"loss": mean_loss, "learning rate": rate, "seconds a step": taken_s})
