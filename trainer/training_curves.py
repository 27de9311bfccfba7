"""The curves of a training run as a picture: ``curves.png`` in the folder of the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CURVES = "curves.png"
STEP, RATE, STEP_SECONDS, LOSS = "step", "learning rate", "seconds a step", "loss"
VALIDATION = "validation "
"""What names of values of the validation cases begin with."""

History = Sequence[Mapping[str, float]]


def draw_curves(history: History, title: str, path: Path) -> bool:
    """Draw loss, parts of the loss, metrics of the validation cases, and learning rate.

    Parameters
    ----------
    history
        Values by name of every report, each with its ``step``.
    title
        Name of the run.

    Returns
    -------
    bool
        False if matplotlib is not installed; nothing is drawn then.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    except ImportError:
        return False
    panels = _panels(history)
    figure = Figure(figsize=(4.6 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, curves) in zip(axes, panels.items(), strict=True):
        _draw(axis, name, {curve: _points(history, curve) for curve in curves})
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
    return True


def _panels(history: History) -> dict[str, list[str]]:
    """Names of curves by panel; values of different units never share one."""
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [name for name in names if name in (LOSS, VALIDATION + LOSS)]
    metrics = [name for name in names if name.startswith(VALIDATION) and name not in losses]
    parts = [name for name in names if name not in {*losses, *metrics, STEP, RATE, STEP_SECONDS}]
    panels = {LOSS: losses}
    if parts:
        panels["parts of the loss"] = parts
    return panels | {name: [name] for name in metrics} | {RATE: [RATE]}


def _points(history: History, name: str) -> list[tuple[float, float]]:
    return [(row[STEP], row[name]) for row in history if name in row]


def _draw(axis: Any, title: str, curves: Mapping[str, list[tuple[float, float]]]) -> None:
    for name, points in curves.items():
        marker = "o" if name.startswith(VALIDATION) else ""
        axis.plot(
            *zip(*points, strict=True), label=name, linewidth=1.4, marker=marker, markersize=3
        )
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(STEP, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(color="0.92")
    if len(curves) > 1:
        axis.legend(fontsize=8, frameon=False)
