"""Evaluation of contours: ``python -m trainer evaluate contour --experiment FILE``."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from models.contour_tracing import WALKS
from models.delineate import walk_rules
from models.weights import INTENDED_USE, load_network, read_card, save_network
from trainer.command_options import Changes, ExperimentFile
from trainer.evaluation.contour_judgement import Judgement, judged
from trainer.evaluation.contour_methods import Delineator, Method, ablations
from trainer.evaluation.contour_summary import (
    Estimate,
    Resampling,
    Summary,
    grouped,
    quality_use,
    summary,
)
from trainer.evaluation.delineation_page import delineation_page
from trainer.evaluation.error_figure import draw_distributions
from trainer.evaluation.rejection_rates import rejection_rates
from trainer.experiment import RUNS_FOLDER, WHOLE_SLICE_WEIGHTS, Experiment, read_experiment
from trainer.prepared_cases import read_case, ready_cases
from trainer.run_metadata import code_version, machine, refuse_trained_subjects

SHIPPED = "ours"
FIGURE = Path("images/delineation.svg")


def evaluate_contour(
    experiment: ExperimentFile,
    weights: Annotated[
        Path, typer.Option(help="Folder with the subfolder contour.")
    ] = WHOLE_SLICE_WEIGHTS,
    runs: Annotated[Path, typer.Option(help="Folder for prepared cases.")] = RUNS_FOLDER,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare with other weights: NAME=FOLDER, or NAME=FOLDER:best or :literal to "
            "override the tracing rules on their card. Their scores are added to the card."
        ),
    ] = None,
    ablate: Annotated[bool, typer.Option(help="Also ablate the tracing rules.")] = False,
    others: Annotated[int, typer.Option(help="Studies to test rejection with.")] = 0,
    first: Annotated[int, typer.Option(help="Only the first N test cases; 0 for all.")] = 0,
    docs: Annotated[
        Path | None,
        typer.Option(help="Folder for delineation.json, .md and the figure."),
    ] = None,
    changes: Changes = None,
) -> None:
    """Evaluate contour networks of whole slices on an experiment's test cases.

    The scores are written to the card.
    """
    plan = read_experiment(experiment, changes or ())
    seeds = range(*plan.cases.test)[: first or None]
    folder = ready_cases(plan.cases, (plan.cases.test,), runs, plan.roi)
    if not plan.cases.are_phantoms:
        refuse_trained_subjects(read_card(weights / "contour"), folder, seeds)
    methods = [Method(SHIPPED, weights / "contour"), *map(_named, beside or ())]
    changed = ablations(weights / "contour") if ablate else []
    delineator = Delineator([*methods, *changed])
    judgements = judgements_of(delineator, folder, seeds)
    resampling = Resampling.of(seeds)
    report = _report(plan, delineator, methods, changed, judgements, resampling) | {
        "refusal": rejection_rates(weights, others) if others else {}
    }
    _write_on_card(report, judgements, resampling, weights / "contour", _cases(plan, seeds))
    _print(report)
    if docs is not None:
        of_methods = {method.name: judgements[method.name] for method in methods}
        draw_distributions(of_methods, docs / FIGURE)
        (docs / "delineation.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
        (docs / "delineation.md").write_text(delineation_page(report, FIGURE))


def _report(
    plan: Experiment,
    delineator: Delineator,
    methods: Sequence[Method],
    ablated: Sequence[Method],
    judgements: Mapping[str, Sequence[Judgement]],
    resampling: Resampling,
) -> dict[str, Any]:
    return {
        "warning": INTENDED_USE,
        "command": f"python -m trainer {' '.join(sys.argv[1:])}",
        "code": code_version(),
        "machine": machine(),
        "experiment": asdict(plan),
        "methods": {
            method.name: _described(delineator, method)
            | _measured(judgements[method.name], resampling)
            for method in methods
        },
        "ablations": {
            method.name: {"all": _plain(asdict(summary(judgements[method.name], resampling)))}
            for method in ablated
        },
    }


def _named(text: str) -> Method:
    name, _, where = text.partition("=")
    folder, _, walk = where.partition(":")
    if not folder or walk not in ("", *WALKS):
        raise typer.BadParameter(f"{text!r} is not NAME=FOLDER or NAME=FOLDER:{'|'.join(WALKS)}")
    if not walk:
        return Method(name, Path(folder))
    threshold = walk_rules(read_card(Path(folder)).settings).presence_threshold
    return Method(name, Path(folder), replace(WALKS[walk], presence_threshold=threshold))


def judgements_of(delineator: Delineator, folder: Path, seeds: range) -> dict[str, list[Judgement]]:
    """The evaluation of every contour of some cases, by name of the method."""
    judgements: dict[str, list[Judgement]] = {}
    for seed in seeds:
        case = read_case(folder, seed)
        for method, found in delineator.contours(case):
            judgements.setdefault(method.name, []).extend(judged(case, found))
    return judgements


def _described(delineator: Delineator, method: Method) -> dict[str, Any]:
    _, card = delineator.loaded[method.weights]
    return {
        "network": f"{card.name} {card.version}",
        "sha256": card.sha256,
        "architecture": asdict(card.architecture),
        "training": dict(card.training),
        "rules": asdict(delineator.rules_of(method)),
    }


def _measured(judgements: Sequence[Judgement], resampling: Resampling) -> dict[str, Any]:
    groups = {
        name: {value: _plain(asdict(of)) for value, of in groups.items()}
        for name, groups in grouped(judgements, resampling).items()
    }
    return {
        "all": _plain(asdict(summary(judgements, resampling))),
        "by": groups,
        "quality": _plain(asdict(quality_use(judgements))),
    }


def _plain(value: Any) -> Any:
    """Rounded numbers for JSON; "inf" where too many contours were missed."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else str(value)
    return value


def _cases(plan: Experiment, seeds: range) -> str:
    kind = "phantom" if plan.cases.are_phantoms else "own"
    return f"{len(seeds)} {kind} cases not used for training"


def _write_on_card(
    report: Mapping[str, Any],
    judgements: Mapping[str, Sequence[Judgement]],
    resampling: Resampling,
    folder: Path,
    cases: str,
) -> None:
    scores = {
        "test" if name == SHIPPED else name: card_scores(summary(judgements[name], resampling))
        for name in report["methods"]
    }
    loaded = load_network(folder)
    metrics = {
        "measured on": cases,
        "command": report["command"],
        "code": report["code"],
        **scores,
    }
    save_network(loaded.network, replace(loaded.card, metrics=metrics), folder)


def card_scores(of: Summary) -> dict[str, Any]:
    """A summary for the model card: every score with its 95 % interval."""
    named: dict[str, Estimate] = {
        f"rms_mm_p{percent}": estimate for percent, estimate in of.errors["rms"]["mm"].items()
    }
    named |= {
        f"symmetric_rms_mm_p{percent}": estimate
        for percent, estimate in of.errors["symmetric_rms"]["mm"].items()
    }
    named |= {
        f"{name}_fraction": getattr(of, f"{name}_fraction")
        for name in ("missed", "false", "false_away")
    }
    scores: dict[str, Any] = {"patients": of.patients, "contours": of.contours}
    for name, one in named.items():
        scores[name] = _plain(one.value)
        scores[f"{name}_interval"] = _plain([one.low, one.high])
    return scores


def _print(report: Mapping[str, Any]) -> None:
    for name, one in [*report["methods"].items(), *report["ablations"].items()]:
        of = one["all"]
        rms, both = (of["errors"][key]["mm"] for key in ("rms", "symmetric_rms"))
        percents = " ".join(f"p{percent} {found['value']}" for percent, found in rms.items())
        print(
            f"{name}: RMS {percents} mm, symmetric p95 {both['95']['value']} mm, "
            f"missed {of['missed']} and false {of['false']} of {of['contours']}"
        )
