"""Commands of the reader study: ``python -m trainer trials`` and ``python -m trainer readers``.

Generates the three trials, computes features with the encoder, simulates the readings, trains
every reader model by cross-validation and writes the results. Completed steps are cached.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from models.roi import RoiRules
from models.weights import INTENDED_USE, Card, LoadedNetwork, build, load_network
from trainer.experiment import RUNS_FOLDER, SHIPPED_WEIGHTS
from trainer.phantom.trials import TRIALS
from trainer.reader_study.cross_validation import (
    FoldResult,
    ReaderExperiment,
    ReadTrial,
    TrialPredictions,
    cached_fold,
    held_out_predictions,
    out_of_fold,
    read_reader_experiment,
    read_trial,
)
from trainer.reader_study.lesions_page import CONSENSUS_ONLY, OURS, lesions_page
from trainer.reader_study.reader_evaluation import (
    AGAINST,
    agreement,
    compared,
    confusion_error,
    confusions,
    trial_scores,
)
from trainer.reader_study.reader_figures import calibration_figure, confusion_figure, roc_figure
from trainer.reader_study.trial_visits import draw_visits, seen_joints
from trainer.reader_study.trials_page import trials_page

TRIALS_FOLDER = "trials"
SEED = 1
WITH_MATRICES = (OURS, "chain, literal", "flat Tanno", "GeoCrowdNet")
"""Models whose matrices are compared with the readers' true error rates."""

LEARNT_ON = "measure-like"

WeightsOption = Annotated[Path, typer.Option(help="Folder of the lesion network.")]
DocsOption = Annotated[Path, typer.Option(help="Folder for pages, results and figures.")]
RunsOption = Annotated[Path, typer.Option(help="Folder for generated visits and folds.")]
ProcessesOption = Annotated[int, typer.Option(help="Visits generated in parallel.")]


def trials(
    weights: WeightsOption = SHIPPED_WEIGHTS / "lesion",
    docs: DocsOption = Path("docs"),
    runs: RunsOption = RUNS_FOLDER,
    processes: ProcessesOption = 1,
) -> None:
    """Generate the three phantom trials and write the tables of their readings."""
    read = read_trials(load_network(weights), runs / TRIALS_FOLDER, processes)
    print(_written_trials(read, docs))


def _written_trials(read: Mapping[str, ReadTrial], docs: Path) -> str:
    page = trials_page(TRIALS, read, "python -m trainer trials")
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "trials.md").write_text(page, encoding="utf-8")
    return page


def readers(
    weights: WeightsOption = SHIPPED_WEIGHTS / "lesion",
    experiments: Annotated[Path, typer.Option(help="Folder of experiment files (TOML).")] = Path(
        "trainer/experiments/readers"
    ),
    docs: DocsOption = Path("docs"),
    runs: RunsOption = RUNS_FOLDER,
    processes: ProcessesOption = 1,
) -> None:
    """Compare reader models by cross-validation and on two held-out trials."""
    encoder = load_network(weights)
    read = read_trials(encoder, runs / TRIALS_FOLDER, processes)
    _written_trials(read, docs)
    paths = sorted(experiments.glob("*.toml"))

    def alternative_trials(experiment: ReaderExperiment) -> Mapping[str, ReadTrial]:
        changed = encoder if experiment.pretrained_encoder else untrained(encoder)
        folder = runs / TRIALS_FOLDER
        return read_trials(changed, folder, processes, experiment.margin_mm)

    home = runs / "readers" / _fingerprint(read)
    compare(paths, read, encoder.card, home, docs, alternative_trials)


def untrained(encoder: LoadedNetwork) -> LoadedNetwork:
    """An untrained encoder of the same shape, with fixed random weights."""
    torch.manual_seed(SEED)
    network = build(encoder.card.architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    card = replace(encoder.card, name="untrained", sha256="untrained")
    return LoadedNetwork(network.eval().requires_grad_(False), card)


def compare(
    paths: Sequence[Path],
    read: Mapping[str, ReadTrial],
    encoder: Card,
    folder: Path,
    docs: Path,
    alternative_trials: Callable[[ReaderExperiment], Mapping[str, ReadTrial]] | None = None,
) -> None:
    """Run every experiment on the trials and write the results.

    Parameters
    ----------
    paths
        Of the experiments, starting with the one named "chain". The page is rewritten after each.
    encoder
        Card of the network that computed the features.
    folder
        Folder for cached folds.
    docs
        Folder for the page, its results and its figures.
    alternative_trials
        The trials for experiments with another margin or encoder.
    """
    found: dict[str, Any] = {}
    less: dict[str, Any] = {}
    ours: dict[str, TrialPredictions] = {}
    for path in paths:
        experiment = read_reader_experiment(path)
        usual = experiment.margin_mm is None and experiment.pretrained_encoder
        seen = read if usual or alternative_trials is None else alternative_trials(experiment)
        results = _folds(experiment, path, seen, folder)
        mine = _answers(results, seen)
        found[experiment.name] = _evaluated(experiment, path, results, seen, mine)
        if experiment.name == OURS:
            ours = mine
        else:
            less[experiment.name] = _less(read, ours, mine)
        print(f"{experiment.name}: evaluated", flush=True)
        write_results(evaluation(found, less, encoder), ours, read, docs)


def _less(
    read: Mapping[str, ReadTrial],
    ours: Mapping[str, TrialPredictions],
    theirs: Mapping[str, TrialPredictions],
) -> dict[str, Any]:
    return {
        name: {kind: compared(trial, ours[name], theirs[name], kind) for kind in AGAINST}
        for name, trial in read.items()
    }


def read_trials(
    encoder: LoadedNetwork, folder: Path, processes: int, margin_mm: float | None = None
) -> dict[str, ReadTrial]:
    """Generate all trials, compute their features and simulate their readings.

    Parameters
    ----------
    folder
        Of all trials, with a subfolder for each crop size and margin.
    margin_mm
        See `ReaderExperiment`.
    """
    rules = RoiRules(**encoder.card.settings["roi"])
    if margin_mm is not None:
        rules = replace(rules, margin_mm=margin_mm)
    home = folder / f"{rules.size_px}px-{rules.margin_mm:g}mm"
    read = {}
    for name, trial in TRIALS.items():
        draw_visits(trial, home, rules, processes)
        read[name] = read_trial(trial, seen_joints(trial, home, encoder), SEED)
    return read


def _folds(
    experiment: ReaderExperiment, path: Path, read: Mapping[str, ReadTrial], folder: Path
) -> list[FoldResult]:
    home = folder / f"{path.stem}-{_digest(path)[:8]}"
    held_out = [trial for name, trial in read.items() if name != LEARNT_ON]
    results = []
    for fold in range(experiment.heads.folds):
        results.append(cached_fold(experiment, fold, read[LEARNT_ON], held_out, home))
        print(f"{experiment.name}: fold {fold}, decay {results[-1].decay}", flush=True)
    return results


def _fingerprint(read: Mapping[str, ReadTrial]) -> str:
    """Cache key of the folds: features and readings of all trials."""
    digest = hashlib.sha256()
    for trial in read.values():
        digest.update(trial.joints.features.tobytes())
        digest.update(trial.reading.readings.values.tobytes())
    return digest.hexdigest()[:12]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _answers(
    results: list[FoldResult], read: Mapping[str, ReadTrial]
) -> dict[str, TrialPredictions]:
    held_out = [name for name in read if name != LEARNT_ON]
    mine = {LEARNT_ON: out_of_fold(results, len(read[LEARNT_ON].joints.week))}
    return mine | {name: held_out_predictions(results, n) for n, name in enumerate(held_out)}


def _evaluated(
    experiment: ReaderExperiment,
    path: Path,
    results: list[FoldResult],
    read: Mapping[str, ReadTrial],
    mine: Mapping[str, TrialPredictions],
) -> dict[str, Any]:
    errors = confusions(
        read[LEARNT_ON],
        {name: [one.composed[name] for one in results] for name in results[0].composed},
    )
    return {
        "file": str(path),
        "sha256": _digest(path),
        "seed": experiment.heads.seed,
        "decays": [one.decay for one in results],
        "trials": {name: trial_scores(trial, mine[name]) for name, trial in read.items()},
        "agreement": {name: agreement(trial, mine[name]) for name, trial in read.items()},
        "confusion": errors,
        "confusion error": confusion_error(errors),
    }


def evaluation(found: Mapping[str, Any], less: Mapping[str, Any], encoder: Card) -> dict[str, Any]:
    """The results of the study as JSON.

    Parameters
    ----------
    found
        By experiment.
    less
        Differences between the chain's scores and those of each other experiment.
    """
    return {
        "warning": INTENDED_USE,
        "command": "python -m trainer readers",
        "encoder": {
            "name": encoder.name,
            "version": encoder.version,
            "sha256": encoder.sha256,
        },
        "seed of the readings": SEED,
        "experiments": dict(found),
        "chain less": dict(less),
    }


def write_results(
    whole: Mapping[str, Any],
    ours: Mapping[str, TrialPredictions],
    read: Mapping[str, ReadTrial],
    docs: Path,
) -> None:
    """Write the page, its results and its figures."""
    pictures = docs / "images"
    roc_figure(read, ours, pictures / "lesions_roc.png")
    shown = {OURS: "#2c5f8a", CONSENSUS_ONLY: "#c0392b", "soft labels": "#888888"}
    there = {name: colour for name, colour in shown.items() if name in whole["experiments"]}
    calibration_figure(whole, there, pictures / "lesions_calibration.png")
    learnt = [name for name in WITH_MATRICES if name in whole["experiments"]]
    confusion_figure(whole, learnt, pictures / "lesions_confusion.png")
    (docs / "lesions.json").write_text(json.dumps(_rounded(whole), separators=(",", ":")) + "\n")
    (docs / "lesions.md").write_text(lesions_page(whole), encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Numbers rounded to four digits; NaN as null."""
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return None if value != value else round(value, 4)  # noqa: PLR0124  NaN
    return value
