"""Figures of the reader study: ROC curves, calibration, and estimated reader errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Lesion
from trainer.reader_study.cross_validation import ReadTrial, TrialPredictions
from trainer.reader_study.reader_evaluation import labelled_predictions

if TYPE_CHECKING:  # an extra, imported only to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    Lesion.OEDEMA: "#286edc",
    Lesion.EROSION: "#cd2d2d",
    Lesion.FATTY_LESION: "#d78c00",
    Lesion.SCLEROSIS: "#874bb9",
    Lesion.ANKYLOSIS: "#0f826e",
}
"""The colours used in the reports."""
TITLE = "phantoms, not for clinical use"


def roc_points(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """False and true positive rates at every threshold, ``(n, 2)``, from (0, 0) to (1, 1)."""
    order = np.argsort(-probability, kind="stable")
    true, false = np.cumsum(truth[order]), np.cumsum(~truth[order])
    last = np.r_[np.diff(probability[order]) != 0, True]
    points = np.stack([false / max(1, false[-1]), true / max(1, true[-1])], axis=1)[last]
    return np.concatenate([np.zeros((1, 2)), points])


def roc_figure(
    trials: Mapping[str, ReadTrial], answers: Mapping[str, TrialPredictions], path: Path
) -> None:
    """ROC curves of every lesion on consensus labels, one panel per trial."""
    figure, panels = _panels(1, len(trials))
    for panel, (name, trial) in zip(panels[0], trials.items(), strict=True):
        for lesion in Lesion:
            truth, probability, _ = labelled_predictions(
                trial, answers[name], lesion, "consensus"
            ).flat()
            if truth.any():
                panel.plot(*roc_points(truth, probability).T, color=COLOURS[lesion], label=lesion)
        panel.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
        panel.set(title=name, xlabel="1 - specificity", aspect="equal")
    panels[0][0].set_ylabel("sensitivity")
    panels[0][0].legend(loc="lower right", fontsize=8, frameon=False)
    _save(figure, f"ROC on consensus labels ({TITLE})", path)


def _draw_curve(panel: Any, lesions: Mapping[str, Any], name: str, colour: str) -> None:
    said, share, count = pooled_curve([one.get("curve", []) for one in lesions.values()])
    panel.plot(said, share, color=colour, linewidth=1, label=name)
    panel.scatter(said, share, color=colour, s=4 + np.sqrt(count))


def calibration_figure(evaluation: Mapping[str, Any], shown: Mapping[str, str], path: Path) -> None:
    """Calibration curves of some experiments, against consensus and true labels.

    Parameters
    ----------
    evaluation
        From `reader_commands.evaluation`.
    shown
        Colours by name of the experiment.
    """
    trials = list(next(iter(evaluation["experiments"].values()))["trials"])
    figure, panels = _panels(2, len(trials))
    for row, against in enumerate(("consensus", "truth")):
        for column, trial in enumerate(trials):
            panel = panels[row][column]
            for name, colour in shown.items():
                lesions = evaluation["experiments"][name]["trials"][trial][against]
                _draw_curve(panel, lesions, name, colour)
            panel.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
            panel.set(title=f"{trial}, {against}", aspect="equal")
        panels[row][0].set_ylabel("share present")
    for panel in panels[-1]:
        panel.set_xlabel("probability")
    panels[0][0].legend(loc="upper left", fontsize=8, frameon=False)
    _save(figure, f"Calibration, all lesions pooled ({TITLE})", path)


def pooled_curve(
    curves: list[list[tuple[float, float, int]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pool calibration curves: mean probability, share present and number, by bin."""
    bins: dict[int, NDArray[np.float64]] = {}
    for curve in curves:
        for said, share, count in curve:
            sums = np.array([said * count, share * count, count])
            bins[min(9, int(said * 10))] = bins.get(min(9, int(said * 10)), np.zeros(3)) + sums
    table = np.array([bins[number] for number in sorted(bins)]).reshape(-1, 3)
    return table[:, 0] / table[:, 2], table[:, 1] / table[:, 2], table[:, 2]


def confusion_figure(evaluation: Mapping[str, Any], names: list[str], path: Path) -> None:
    """Estimated against true error rates of every reading, one panel per experiment."""
    figure, panels = _panels(1, len(names))
    for panel, name in zip(panels[0], names, strict=True):
        for lesions in evaluation["experiments"][name]["confusion"].values():
            for lesion, pair in lesions.items():
                for kind, marker in enumerate("ox"):
                    panel.scatter(
                        pair["true"][kind], pair["learnt"][kind], marker=marker,
                        color=COLOURS[Lesion(lesion)], s=26,
                    )  # fmt: skip
        panel.plot([0, 0.5], [0, 0.5], color="#bbbbbb", linewidth=0.8)
        panel.set(title=name, xlabel="true error rate of a reading", aspect="equal")
    for lesion in Lesion:
        panels[0][0].scatter([], [], color=COLOURS[lesion], s=26, label=lesion)
    panels[0][0].legend(loc="upper left", fontsize=8, frameon=False)
    panels[0][0].set_ylabel("estimated error rate")
    _save(figure, f"Reader errors: o false positive, x false negative ({TITLE})", path)


def _panels(rows: int, columns: int) -> "tuple[Figure, list[list[Axes]]]":
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra

    figure = Figure(figsize=(4 * columns, 0.6 + 4.4 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=True, squeeze=False).tolist()


def _save(figure: "Figure", title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
