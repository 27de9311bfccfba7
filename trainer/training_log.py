"""Training curves for TensorBoard: ``tensorboard --logdir runs``.

TensorBoard belongs to the ``training`` extra; training also runs without it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

LogValues = Callable[[int, Mapping[str, float]], None]
"""Logs values by name at a step."""


def log_nothing(step: int, values: Mapping[str, float]) -> None:
    """Discard the values."""


def tensorboard_log(folder: Path) -> LogValues:
    """A log in a folder that TensorBoard reads; logs nothing where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an extra
    except ImportError:
        print("TensorBoard is not installed; progress is printed only")
        return log_nothing
    writer = SummaryWriter(str(folder))

    def log_values(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log_values
