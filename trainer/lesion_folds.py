"""Fine-tuning of the lesion network by folds of subjects: ``python -m trainer cross-validate``.

Each fold's network starts from the same weights, learns from the other subjects and is judged on
its own, which it never saw; another fold's subjects choose its best weights. The network that is
handed over has the mean of their weights: it costs no more than one of them. Phantoms show what
was forgotten.

Source: Wortsman et al., "Model soups" (ICML 2022), for the mean of weights that share a start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from models.findings import Lesion
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34
from models.preprocess import PREPROCESSING_VERSION
from models.weights import OWN_INTENDED_USE, Card, load_network, save_network
from trainer.command_options import Changes, Device, ExperimentFile, Threads
from trainer.distributed import AUTO, ProcessGroup, process_group, use_threads
from trainer.experiment import CASES, RUNS_FOLDER, Experiment, ExperimentInvalid, read_experiment
from trainer.lesions.calibration_fit import HEADS_OF_LESION
from trainer.lesions.lesion_run import fitted_lesion
from trainer.lesions.lesion_training import (
    JointSample,
    Predictions,
    chosen_settings,
    predictions,
    read_joints,
    reference_on,
)
from trainer.malloc import keep_freed_memory
from trainer.markdown_table import markdown, written
from trainer.metrics.lesion_scores import LabelledPredictions, differences, intervals, scores_of
from trainer.prepared_cases import prepare_cases, ready_cases
from trainer.run_metadata import record_run, training_record
from trainer.subjects import read_subjects

REPORT = "cross_validation.md"
FIRST_PHANTOM = 40_000
"""Seed of the first phantom for judging; training, validation and test use smaller ones."""
FEWEST_FOLDS = 3
"""One to train, one to choose the weights, one to judge."""
RESAMPLES, SEED = 500, 0

Subjects = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gain:
    """What two networks say of the same joints.

    Parameters
    ----------
    before, after
        Of the initial weights, and of the new ones.
    subject
        Of each joint.
    """

    before: Predictions
    after: Predictions
    subject: Subjects

    def of(self, said: Predictions, lesion: Lesion) -> LabelledPredictions:
        """Predictions of one lesion."""
        heads = HEADS_OF_LESION[lesion]
        probability = said.probability[:, heads]
        called = probability >= 0.5
        return LabelledPredictions(probability, called, said.positive[:, heads], self.subject)

    def difference(self) -> list[float]:
        """Mean difference of the AUC over lesions, and its 95 % interval; NaN if none has one."""
        pairs = [
            (self.of(self.after, one), self.of(self.before, one))
            for one in Lesion
            if np.isfinite(scores_of(self.of(self.before, one)).get("auc", np.nan))
        ]
        if not pairs:
            return [float("nan")] * 3
        after, before = (list(side) for side in zip(*pairs, strict=True))
        return differences(after, before, ("auc",), RESAMPLES, SEED)["auc"]

    def rows(self) -> list[list[object]]:
        """A row of the report for each lesion."""
        rows = []
        for lesion in Lesion:
            before, after = (self.of(said, lesion) for said in (self.before, self.after))
            counts = scores_of(before)
            cells = [_with_interval(one) for one in (before, after)]
            rows.append([str(lesion), int(counts["places"]), int(counts["present"]), *cells])
        return rows


def _with_interval(judged: LabelledPredictions) -> str:
    value = scores_of(judged).get("auc", float("nan"))
    if not np.isfinite(value):
        return "–"
    low, high = intervals(judged, RESAMPLES, SEED)["auc"]
    return f"{written(value)} ({written(low)} to {written(high)})"


def cross_validate(
    experiment: ExperimentFile,
    weights: Annotated[Path, typer.Option(help="Folder that gets the subfolder lesion.")],
    folds: Annotated[int, typer.Option(min=FEWEST_FOLDS, help="Parts of the subjects.")] = 4,
    phantoms: Annotated[
        int, typer.Option(min=0, help="Phantoms that show what was forgotten.")
    ] = 40,
    runs: Annotated[Path, typer.Option(help="Folder for cases and checkpoints.")] = RUNS_FOLDER,
    changes: Changes = None,
    device: Device = AUTO,
    threads: Threads = 0,
) -> None:
    """Fine-tune the lesion network by folds of subjects; write the mean network and a report.

    The training and validation cases of the experiment are divided into folds; its test cases are
    not touched.
    """
    plan = read_experiment(experiment, changes or ())
    _check(plan)
    keep_freed_memory()
    use_threads(threads)
    with process_group(device) as group:
        if group.size > 1:
            raise ExperimentInvalid("cross-validate runs in one process; start it without torchrun")
        own = _OwnJoints.read(plan, runs, folds)
        networks, held_out = _trained_folds(plan, runs, group, own)
        network = mean_network(networks)
        initial = load_network(cast(Path, plan.initial_weights_folder))
        before = cast(LesionResNet34, initial.network)
        gains = {
            "own subjects, held out": Gain(predictions(before, own.all), held_out, own.subject)
        }
        if phantoms:
            gains["phantoms"] = _on_phantoms(before, network, plan, runs, phantoms)
    folder = weights / "lesion"
    card = save_network(network, _card(plan, runs, network, own, held_out, gains), folder)
    page = _page(plan, f"{initial.card.name} {initial.card.version}", folds, gains)
    (folder / REPORT).write_text(page, encoding="utf-8")
    print(page)
    print(f"lesion {card.version} written, SHA-256 {card.sha256}; report: {folder / REPORT}")


def _check(plan: Experiment) -> None:
    if not isinstance(plan.architecture, LesionArchitecture):
        raise ExperimentInvalid(f"{plan.name} is not an experiment for the lesion network")
    if plan.cases.are_phantoms or plan.initial_weights_folder is None:
        raise ExperimentInvalid(
            f"{plan.name} must have own cases and initial_weights, from which every fold starts"
        )


@dataclass(frozen=True, eq=False)
class _OwnJoints:
    """The joints of a site's training and validation cases, by fold of their subjects."""

    folds: tuple[tuple[JointSample, ...], ...]
    subject: Subjects

    @classmethod
    def read(cls, plan: Experiment, runs: Path, count: int) -> "_OwnJoints":
        ranges = (plan.cases.training, plan.cases.validation)
        folder = ready_cases(plan.cases, ranges, runs, plan.roi)
        listed = read_subjects(folder)
        folds: list[list[JointSample]] = [[] for _ in range(count)]
        owners: list[list[int]] = [[] for _ in range(count)]
        known: dict[str, int] = {}
        for number in (number for one in ranges for number in range(*one)):
            joints = read_joints(folder, range(number, number + 1))
            if joints:
                subject = known.setdefault(listed[number], len(known))
                folds[subject % count] += joints
                owners[subject % count] += [subject] * len(joints)
        if len(known) < count:
            raise ExperimentInvalid(
                f"{plan.name} has {len(known)} subjects with T1, STIR and readings; {count} folds "
                "need one each: reduce --folds, or import cases of more people"
            )
        return cls(tuple(map(tuple, folds)), np.concatenate(owners).astype(np.int64))

    @property
    def all(self) -> tuple[JointSample, ...]:
        """Every joint, fold by fold."""
        return tuple(joint for fold in self.folds for joint in fold)


def _trained_folds(
    plan: Experiment, runs: Path, group: ProcessGroup, own: _OwnJoints
) -> tuple[list[LesionResNet34], Predictions]:
    """A network for each fold, and what each one says of its own, in the order of `own.all`."""
    networks, said = [], []
    for number, held_out in enumerate(own.folds):
        choosing = (number + 1) % len(own.folds)
        training = [
            joint
            for other, fold in enumerate(own.folds)
            if other not in (number, choosing)
            for joint in fold
        ]
        fold_plan = replace(plan, name=f"{plan.name}-fold-{number + 1}-of-{len(own.folds)}")
        print(f"fold {number + 1} of {len(own.folds)}: {len(training)} joints", flush=True)
        record_run(fold_plan, runs, group)
        network = fitted_lesion(fold_plan, runs, group, tuple(training), own.folds[choosing])
        networks.append(network.cpu().eval())
        said.append(predictions(network, held_out))
    positive, probability = (
        np.concatenate([getattr(one, name) for one in said]) for name in ("positive", "probability")
    )
    return networks, Predictions(positive, probability)


def mean_network(networks: Sequence[LesionResNet34]) -> LesionResNet34:
    """A network with the mean of the weights of networks that started from the same ones."""
    mean = LesionResNet34(networks[0].architecture)
    states = [network.state_dict() for network in networks]
    mean.load_state_dict(
        {
            name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(value.dtype)
            for name, value in states[0].items()
        }
    )
    return mean.eval()


def _on_phantoms(
    before: LesionResNet34, after: LesionResNet34, plan: Experiment, runs: Path, count: int
) -> Gain:
    numbers = range(FIRST_PHANTOM, FIRST_PHANTOM + count)
    prepare_cases(numbers, runs / CASES, plan.roi)
    by_case = [read_joints(runs / CASES, range(one, one + 1)) for one in numbers]
    joints = tuple(joint for case in by_case for joint in case)
    subject = np.repeat(np.arange(count), [len(case) for case in by_case])
    return Gain(predictions(before, joints), predictions(after, joints), subject)


def _card(
    plan: Experiment,
    runs: Path,
    network: LesionResNet34,
    own: _OwnJoints,
    held_out: Predictions,
    gains: Mapping[str, Gain],
) -> Card:
    settings: dict[str, Any] = {"roi": asdict(plan.roi)}
    settings |= chosen_settings(held_out, f"{len(held_out.positive)} own joints, each held out")
    settings |= {"reference": asdict(reference_on(network, own.all))}
    record = training_record(plan, runs) | {"folds": len(own.folds)}
    metrics = {
        f"mean AUC gained: {name}": [round(value, 4) for value in gain.difference()]
        for name, gain in gains.items()
    }
    return Card(
        plan.name,
        plan.version,
        plan.architecture,
        PREPROCESSING_VERSION,
        OWN_INTENDED_USE,
        record,
        metrics,
        settings,
    )


def _page(plan: Experiment, before: str, folds: int, gains: Mapping[str, Gain]) -> str:
    parts = [
        f"# {plan.name} {plan.version}: what was gained and lost",
        f"Not for clinical use. {folds} folds of subjects; AUC with 95 % intervals (bootstrap over "
        f"subjects). Before: {before}. On own subjects each network is judged on those that it "
        "never saw; phantoms are judged with the mean of the networks. How far readers agree with "
        "each other is in import_report.md.",
    ]
    for name, gain in gains.items():
        middle, low, high = gain.difference()
        head = ["lesion", "positions", "present", "AUC before", "AUC after"]
        parts += [f"## {name[0].upper()}{name[1:]}", markdown(head, gain.rows())]
        parts.append(
            f"Mean change of the AUC: {written(middle)} ({written(low)} to {written(high)}): "
            f"{_verdict(low, high)}."
        )
    return "\n\n".join(parts) + "\n"


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "gained"
    return "lost" if high < 0 else "no difference beyond chance"
