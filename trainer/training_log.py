"""The course of a training, for TensorBoard: ``tensorboard --logdir runs``.

TensorBoard is part of the ``training`` extra; without it a training runs all the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Journal(Protocol):
    """Where numbers of a run are noted."""

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Note some values at a step."""


class NoJournal:
    """Notes nothing."""

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Note nothing."""


class TensorBoardJournal:
    """Notes everything in a folder that TensorBoard reads."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an extra

        self._writer = SummaryWriter(str(folder))

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Note some values at a step, at once on disk."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


def opened_journal(folder: Path) -> Journal:
    """A journal in a folder; one that notes nothing where TensorBoard is not installed."""
    try:
        return TensorBoardJournal(folder)
    except ImportError:
        print("TensorBoard is not installed; the course of this training is only printed")
        return NoJournal()
