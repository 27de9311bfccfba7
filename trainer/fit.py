"""One training run: steps, a learning rate that falls to nothing, checkpoints, progress.

A run that was stopped goes on from its last checkpoint with the same numbers.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.experiment import Experiment

WARM_UP_STEPS = 50
STEPS_PER_CHECKPOINT = 200
STEPS_PER_REPORT = 50
BETAS = (0.9, 0.999)

Parts = dict[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.OneCycleLR]


def fit(
    network: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    experiment: Experiment,
    generator: torch.Generator,
    folder: Path,
) -> None:
    """Train a network in place.

    Parameters
    ----------
    loss_of_step
        Draws a batch and gives its loss.
    generator
        The source of all randomness in `loss_of_step`; kept in the checkpoint.
    folder
        Where the checkpoint lives.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=experiment.learning_rate, betas=BETAS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        experiment.learning_rate,
        total_steps=experiment.steps,
        pct_start=min(0.3, WARM_UP_STEPS / experiment.steps),
        cycle_momentum=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    parts: Parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    first = _resume(checkpoint, parts, generator)
    started, recent = time.monotonic(), 0.0
    network.train()
    for step in range(first, experiment.steps):
        loss = loss_of_step(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        recent = loss.item() if not recent else 0.98 * recent + 0.02 * loss.item()
        done = step + 1
        if done % STEPS_PER_REPORT == 0:
            left_s = (time.monotonic() - started) / (done - first) * (experiment.steps - done)
            print(
                f"step {done}/{experiment.steps} loss {recent:.4f} left {left_s:.0f} s", flush=True
            )
        if done % STEPS_PER_CHECKPOINT == 0 or done == experiment.steps:
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save(states | {"step": done, "random": generator.get_state()}, checkpoint)


def _resume(
    checkpoint: Path,
    parts: Parts,
    generator: torch.Generator,
) -> int:
    """Put every part back where the checkpoint left it; the number of steps already done."""
    if not checkpoint.exists():
        return 0
    states = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    generator.set_state(states["random"])
    return int(states["step"])
