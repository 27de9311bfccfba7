"""Small experiments and untrained networks."""

from pathlib import Path

import torch

from models.preprocess import PREPROCESSING_VERSION
from models.weights import INTENDED_USE, Card, build, save_network
from trainer.experiment import Experiment, read_experiment

SMALL_CONTOUR = """
kind = "contour"
name = "contour"
version = "9.9.9"
steps = 2
batch = 2
learning_rate = 1e-3
seed = 1
architecture = { width = 2, levels = 3, fold = 2 }
cases = { training = [0, 1], validation = [1, 2], test = [2, 3] }
"""
SMALL_LESION = """
kind = "lesion"
name = "lesion"
version = "9.9.9"
steps = 2
batch = 2
learning_rate = 1e-3
seed = 1
architecture = { width = 2, kernel_depth = 1, pooling = "zones" }
roi = { size_px = 48 }
cases = { training = [0, 1], validation = [1, 2], test = [2, 3] }
"""


def experiment(text: str, folder: Path) -> Experiment:
    """An experiment read from a file in a folder."""
    file = folder / "experiment.toml"
    file.write_text(text, encoding="utf-8")
    return read_experiment(file)


def save_untrained(plan: Experiment, folder: Path, walk: str = "best") -> Card:
    """Write an experiment's network with random weights and its card."""
    settings = {"presence_threshold": 0.5, "walk": walk}
    card = Card(
        plan.name,
        plan.version,
        plan.architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE,
        {},
        {},
        settings,
    )
    torch.manual_seed(0)
    return save_network(build(plan.architecture).eval(), card, folder)
