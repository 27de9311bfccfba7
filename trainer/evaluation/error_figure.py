"""Figure: cumulative distribution of contour errors, one curve per method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.evaluation.contour_judgement import ContourOutcome, Judgement

PANELS = {
    "rms": "RMS error, truth to contour (the paper's)",
    "symmetric_rms": "RMS error, symmetric",
}
LARGEST_MM = 6.0
GOAL_MM, PAPER_MM = 1.5, 2.76


def draw_distributions(of_methods: Mapping[str, Sequence[Judgement]], path: Path) -> None:
    """Draw the share of true contours within each distance; missed ones never are.

    Parameters
    ----------
    of_methods
        By name of the method.
    path
        An SVG or PNG file, reproducible byte for byte.
    """
    import matplotlib as mpl  # noqa: PLC0415  an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "delineation", "font.size": 9}):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (measure, title) in zip(axes, PANELS.items(), strict=True):
            for name, judgements in of_methods.items():
                errors = _errors(judgements, measure)
                share = 100 * np.arange(1, len(errors) + 1) / len(errors)
                axis.step(errors, share, where="post", label=name, linewidth=1.4)
            axis.axhline(95, color="0.6", linewidth=0.8, linestyle=":")
            axis.set(xlim=(0, LARGEST_MM), ylim=(50, 100), xlabel="mm")
            axis.set_title(title, fontsize=9)
            axis.grid(color="0.92")
        axes[0].axvline(GOAL_MM, color="0.6", linewidth=0.8, linestyle="--")
        axes[0].axvline(PAPER_MM, color="0.6", linewidth=0.8, linestyle="--")
        axes[0].text(GOAL_MM + 0.04, 50.8, "goal", color="0.4")
        axes[0].text(PAPER_MM + 0.04, 50.8, "the paper's p95, patients", color="0.4")
        axes[0].set_ylabel("true contours within, %")
        axes[1].legend(loc="lower right", frameon=False)
        figure.suptitle("Test phantoms not used for training. Not for clinical use.", fontsize=9)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _errors(judgements: Sequence[Judgement], measure: str) -> np.ndarray[tuple[int], np.dtype]:
    true = [one for one in judgements if one.outcome is not ContourOutcome.FALSE]
    return np.sort([getattr(one.error, measure) for one in true])
