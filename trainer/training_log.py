"""What a training run notes down: a history file, and curves for TensorBoard and MLflow.

TensorBoard belongs to the ``training`` extra; MLflow is used where it is installed. Training runs
without either.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LogValues = Callable[[int, Mapping[str, float]], None]
"""Logs values by name at a step."""

HISTORY = "history.jsonl"
"""One line for each report of a run: its step, and values by name."""

MLFLOW_EXPERIMENT, MLFLOW_RUN, MLFLOW_LONGEST = "sij_node", "mlflow_run.txt", 500
"""Name of the experiment in MLflow, the file with the run's ID, and the longest parameter."""


def log_nothing(step: int, values: Mapping[str, float]) -> None:
    """Discard the values."""


def run_log(folder: Path, settings: Mapping[str, Any], first: int) -> LogValues:
    """A log of a run in all places that are available.

    Parameters
    ----------
    folder
        Of the run; MLflow takes its name as that of the run.
    settings
        Of the experiment, for MLflow.
    first
        Steps that are done already; what was logged later is replaced.
    """
    places = [
        history_log(folder, first),
        tensorboard_log(folder, first),
        mlflow_log(folder, settings),
    ]

    def log_values(step: int, values: Mapping[str, float]) -> None:
        for place in places:
            place(step, values)

    return log_values


def history_log(folder: Path, first: int = 0) -> LogValues:
    """A log that appends to the history of a run, of which it keeps the first steps."""
    path = folder / HISTORY
    kept = [line for line in read_history(folder) if line["step"] <= first]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def log_values(step: int, values: Mapping[str, float]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    return log_values


def read_history(folder: Path) -> list[dict[str, float]]:
    """The history of a run; a last line that was cut off by a crash is left out."""
    path = folder / HISTORY
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def tensorboard_log(folder: Path, first: int = 0) -> LogValues:
    """A log in a folder that TensorBoard reads; logs nothing where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an extra
    except ImportError:
        print("TensorBoard is not installed; progress is printed and kept in history.jsonl")
        return log_nothing
    writer = SummaryWriter(str(folder), purge_step=first + 1 if first else None)

    def log_values(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log_values


def mlflow_log(folder: Path, settings: Mapping[str, Any]) -> LogValues:
    """A run in MLflow, in the store that MLflow is configured for; nothing where it is missing.

    A run that resumes goes on in the same MLflow run. Training never fails because of MLflow.
    """
    try:
        import mlflow  # noqa: PLC0415  not a dependency
    except ImportError:
        return log_nothing
    try:
        client = mlflow.MlflowClient()
        run = _mlflow_run(client, folder, settings)
    except mlflow.exceptions.MlflowException as error:
        print(f"MLflow is not used: {error}")
        return log_nothing

    def log_values(step: int, values: Mapping[str, float]) -> None:
        try:
            for name, value in values.items():
                client.log_metric(run, _mlflow_name(name), value, step=step)
        except mlflow.exceptions.MlflowException as error:
            print(f"step {step} is missing in MLflow: {error}")

    return log_values


def _mlflow_run(client: Any, folder: Path, settings: Mapping[str, Any]) -> str:
    """The ID of this run in MLflow; created once for each folder."""
    noted = folder / MLFLOW_RUN
    if noted.exists():
        return noted.read_text(encoding="utf-8").strip()
    known = client.get_experiment_by_name(MLFLOW_EXPERIMENT)
    experiment = known.experiment_id if known else client.create_experiment(MLFLOW_EXPERIMENT)
    run = str(client.create_run(experiment, run_name=folder.name).info.run_id)
    for name, value in settings.items():
        client.log_param(run, name, str(value)[:MLFLOW_LONGEST])
    noted.write_text(run + "\n", encoding="utf-8")
    return run


def _mlflow_name(name: str) -> str:
    """A name of characters that MLflow allows."""
    return "".join(one if one.isalnum() or one in "_-. /" else "_" for one in name)
