"""Metadata that makes a training run reproducible: configuration, code version, machine."""

import json
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from models.weights import INTENDED_USE, Card, read_card
from trainer.distributed import ProcessGroup
from trainer.experiment import RENAMED_KEYS, Experiment, ExperimentInvalid
from trainer.subjects import read_subjects, subject_digests
from trainer.training_loop import CHECKPOINT

RUN_RECORD = "run.json"
MAY_CHANGE = frozenset({"digest", "notes", "keep", "patience"})
"""Fields of an experiment that may change while a run is in progress."""

PHANTOMS = "phantom cases drawn by trainer.phantom; no patient was involved"


def training_record(plan: Experiment, runs: Path) -> dict[str, Any]:
    """The training section of a network's model card."""
    return {
        "data": PHANTOMS if plan.cases.are_phantoms else f"a site's own: {plan.cases.folder}",
        "cases": asdict(plan.cases),
        "subjects": _subjects(plan, runs),
        "seed": plan.seed,
        "steps": plan.steps,
        "batch": plan.batch,
        "learning_rate": plan.learning_rate,
        "experiment_sha256": plan.digest,
        "code": code_version(),
        "torch": torch.__version__,
        "start": _initial_sha256(plan),
        "readers": str(plan.readers.model) if plan.readers else "",
        "pre_training": pre_training(plan.initial_weights_folder),
        "notes": plan.notes,
    }


def _subjects(plan: Experiment, runs: Path) -> dict[str, list[str]]:
    """Digests of a site's own subjects by purpose; empty for phantoms."""
    folder = runs / plan.cases.folder
    if plan.cases.are_phantoms or not read_subjects(folder):
        return {}
    ranges = {"training": plan.cases.training, "validation": plan.cases.validation}
    return {purpose: subject_digests(folder, range(*r)) for purpose, r in ranges.items()}


def refuse_trained_subjects(card: Card, folder: Path, test: range) -> None:
    """Check that no subject of a site's test cases was used to train or validate a network.

    Raises
    ------
    ExperimentInvalid
        If one was: the split, or the numbers of the cases, changed since the training.
    """
    tested = set(subject_digests(folder, test))
    for purpose, used in card.training.get("subjects", {}).items():
        if tested & set(used):
            raise ExperimentInvalid(
                f"{len(tested & set(used))} subject(s) of the test cases in {folder} were used for "
                f"{purpose} of {card.name} {card.version}; evaluate with the split of its "
                "training, or train again"
            )


def _initial_sha256(plan: Experiment) -> str:
    return read_card(plan.initial_weights_folder).sha256 if plan.initial_weights_folder else ""


def pre_training(initial_weights: Path | None) -> dict[str, Any]:
    """What the initial weights were trained on; empty for random initialisation."""
    if initial_weights is None:
        return {}
    before = read_card(initial_weights)
    said = {key: before.training[key] for key in ("data", "notes") if key in before.training}
    return {"name": before.name, "version": before.version} | said


def code_version() -> str:
    """The git revision of this checkout, marked ``-dirty`` if files have changed."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        described = subprocess.run(  # noqa: S603
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # git is not installed
        return "unknown"
    return described.stdout.strip() or "unknown"


def evaluation_origin(card: Card, command: str) -> dict[str, str]:
    """What the numbers of an evaluation begin with: the warning, and where they come from.

    Parameters
    ----------
    command
        Of the training package, without names of folders that others do not have.
    """
    return {
        "warning": INTENDED_USE,
        "network": f"{card.name} {card.version}",
        "code": code_version(),
        "command": f"python -m trainer {command}",
    }


def machine() -> dict[str, Any]:
    """Python, torch and hardware of this machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "gpu": gpu,
    }


def record_run(plan: Experiment, runs: Path, group: ProcessGroup) -> None:
    """Write ``run.json``: the whole configuration, seed, code version, machine, processes.

    Raises
    ------
    ExperimentInvalid
        If the run's folder holds a checkpoint of a different experiment or of other subjects.
    """
    folder, record = runs / plan.folder, training_record(plan, runs)
    _refuse_another(plan, folder, record["subjects"])
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "experiment": asdict(plan),
        "training": record,
        "processes": group.size,
        "device": str(group.device),
        **machine(),
    }
    (folder / RUN_RECORD).write_text(json.dumps(said, indent=1, default=str) + "\n")


def _refuse_another(plan: Experiment, folder: Path, subjects: dict[str, list[str]]) -> None:
    """Refuse to resume from a checkpoint of other cases or another network."""
    if not (folder / CHECKPOINT).exists():
        return
    recorded = json.loads((folder / RUN_RECORD).read_text())
    before = {RENAMED_KEYS.get(key, key): value for key, value in recorded["experiment"].items()}
    now = json.loads(json.dumps(asdict(plan), default=str))
    other = sorted(k for k in now if k not in MAY_CHANGE and now[k] != before.get(k, now[k]))
    if recorded["training"].get("subjects", subjects) != subjects:
        other.append("subjects")
    if other:
        raise ExperimentInvalid(
            f"{folder} holds a run of {plan.name} {plan.version} with different "
            f"{', '.join(other)}; give the experiment a new version or remove the folder"
        )
