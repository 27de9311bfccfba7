"""An experiment: every setting of a training run, read from one TOML file.

Training twice from the same file and phantom uses the same cases in the same order.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import models
from models.contour_tracing import WALKS
from models.contour_unet import ContourArchitecture
from models.lesion_resnet34 import LesionArchitecture, Pooling
from models.roi import RoiRules
from trainer.errors import TrainingInputInvalid
from trainer.readers.reader_plan import ReaderPlan, reader_plan

RUNS_FOLDER = Path("runs")
SHIPPED_WEIGHTS = Path(models.__file__).parent / "weights"
"""The weights that come with the package, whatever the working directory."""
WHOLE_SLICE_WEIGHTS = SHIPPED_WEIGHTS / "whole_slices"
"""The contour network of whole slices, which the node does not use, in the subfolder contour."""

SHIPPED = "shipped"
CASES = "cases"
"""Folder of prepared cases within the runs folder."""
SLABS = "slabs"
"""Folder of label slabs within the runs folder."""


class Field(StrEnum):
    """Which direction field the contour network learns."""

    BLENDED = "blended"
    LITERAL = "literal"


class Rate(StrEnum):
    """Learning rate schedule: half a cosine down to zero, or constant (the paper's)."""

    FALLING = "falling"
    CONSTANT = "constant"


class Augmentation(StrEnum):
    """Strength of data augmentation: the paper's, or far beyond."""

    PAPER = "paper"
    BEYOND = "beyond"


class Kept(StrEnum):
    """Which weights a run keeps: the last, or those with the lowest validation loss."""

    LAST = "last"
    BEST = "best"


class ExperimentInvalid(TrainingInputInvalid):
    """An experiment file is not valid."""


@dataclass(frozen=True)
class CaseSplit:
    """Training, validation and test cases: half-open ranges of numbers that never overlap.

    Parameters
    ----------
    folder
        Folder of prepared cases within the runs folder. Without it phantoms are generated, and a
        case's number is its seed.
    """

    training: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]
    folder: str = CASES

    @property
    def are_phantoms(self) -> bool:
        """Whether missing cases can be generated."""
        return self.folder == CASES

    def __post_init__(self) -> None:
        ranges = sorted((self.training, self.validation, self.test))
        if any(first >= last for first, last in ranges):
            raise ExperimentInvalid(
                f"a range of cases is empty: {ranges}; training, validation and test need at "
                "least one case each"
            )
        if any(one[1] > two[0] for one, two in pairwise(ranges)):
            raise ExperimentInvalid(f"ranges of cases overlap: {ranges}")


_LEAST = {
    "steps": 1,
    "batch": 1,
    "learning_rate": 1e-9,
    "seed": 0,
    "validation_interval": 0,
    "patience": 0,
}
"""Smallest values of the numbers of an experiment."""


@dataclass(frozen=True)
class Experiment:
    """The settings of one training run.

    Parameters
    ----------
    name, version
        Of the resulting network.
    steps, batch
        Optimiser steps, and slices (contour) or joints (lesion) per step.
    learning_rate
        Adam's peak learning rate.
    seed
        For initialisation, order and augmentation.
    cases
        The split by subject.
    architecture
        Of the contour or lesion network.
    roi
        How the lesion network's regions of interest are cropped.
    digest
        SHA-256 of the file's text.
    field
        Which direction field the contour network learns; this and the next three settings apply
        to contour networks only.
    field_floor
        Weight of the field loss far from the contour, relative to 1 on it; 1 is the paper's.
    augmentation
        Strength of data augmentation.
    walk
        How contours are traced in the network's maps: "best" or "literal" (`WALKS`).
    rate
        Learning rate schedule.
    notes
        For readers of the model card, such as deviations from the paper.
    initial_weights
        Folder of the initial weights, or "shipped" for those that come with the package; empty for
        random initialisation.
    readers
        Which readings the lesion network learns from, and how; None for true labels.
    synthetic_erosions
        Share of joints that get synthetic erosions when training the lesion network; only with
        true labels.
    slab_share
        Share of each batch whose joints come from label slabs (`trainer.lesions.slab_joints`);
        only with true labels.
    keep
        Which weights the run keeps.
    validation_interval
        Steps between two validations; 0 for a tenth of the steps.
    frozen_normalisation
        Whether batch normalisation keeps the statistics of the initial weights: for few cases.
    patience
        The run stops after this many validations without a lower validation loss; 0 for never.
    """

    name: str
    version: str
    steps: int
    batch: int
    learning_rate: float
    seed: int
    cases: CaseSplit
    architecture: ContourArchitecture | LesionArchitecture
    roi: RoiRules
    digest: str
    field: Field = Field.BLENDED
    field_floor: float = 0.2
    augmentation: Augmentation = Augmentation.BEYOND
    walk: str = "best"
    rate: Rate = Rate.FALLING
    notes: str = ""
    initial_weights: str = ""
    readers: ReaderPlan | None = None
    synthetic_erosions: float = 0.0
    slab_share: float = 0.0
    keep: Kept = Kept.LAST
    validation_interval: int = 0
    patience: int = 0
    frozen_normalisation: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            self._check_number(name, getattr(self, name), least)
        for name in ("synthetic_erosions", "slab_share"):
            self._check_share(name, getattr(self, name))

    def _check_number(self, name: str, number: object, least: float) -> None:
        kinds = (int, float) if name == "learning_rate" else (int,)
        if not isinstance(number, kinds) or isinstance(number, bool) or number < least:
            raise ExperimentInvalid(f"{name} must be a number from {least} on, got {number!r}")

    def _check_share(self, name: str, share: float) -> None:
        if not 0 <= share <= 1:
            raise ExperimentInvalid(f"{name} must be between 0 and 1, got {share}")
        if share and self.readers:
            raise ExperimentInvalid(
                f"{name} cannot be combined with [readers]: "
                "drawn lesions have no readings; remove one of the two"
            )

    @property
    def initial_weights_folder(self) -> Path | None:
        """Folder of the initial weights; None for random initialisation."""
        if self.initial_weights == SHIPPED:
            if isinstance(self.architecture, ContourArchitecture):
                return WHOLE_SLICE_WEIGHTS / "contour"
            return SHIPPED_WEIGHTS / "lesion"
        return Path(self.initial_weights) if self.initial_weights else None

    @property
    def folder(self) -> str:
        """Name of the run's folder within the runs folder."""
        return f"{self.name}-{self.version}"


RENAMED_KEYS = {"start": "initial_weights", "pits": "synthetic_erosions"}
"""Earlier keys of experiment files, and what they are called now."""

_CHOICES: dict[str, type[StrEnum]] = {
    "field": Field,
    "augmentation": Augmentation,
    "rate": Rate,
    "keep": Kept,
}


def read_experiment(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment.

    Parameters
    ----------
    changes
        ``KEY=VALUE`` each, the value as in the file; a key of a section is ``SECTION.KEY``. Text
        needs no quotes.

    Raises
    ------
    ExperimentInvalid
        If a key is missing or unknown, or a value is invalid.
    """
    text = path.read_bytes()
    try:
        table = tomllib.loads(text.decode())
        for change in changes:
            _change(table, change)
        digest = hashlib.sha256(b"\0".join([text, *(one.encode() for one in changes)]))
        return _experiment(table, digest.hexdigest())
    except (TypeError, ValueError) as error:
        raise ExperimentInvalid(f"{path}: {error}") from error


def _change(table: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals:
        raise ValueError(f"--set {change} must be KEY=VALUE, for instance --set steps=500")
    *sections, key = name.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise TypeError(f"--set {change}: {section} is not a section")
    try:
        table[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = text.strip()


def _experiment(table: dict[str, Any], digest: str) -> Experiment:
    _check_keys(table)
    kind, shape = table.pop("kind"), table.pop("architecture")
    table["cases"] = CaseSplit(**_tuples(table["cases"]))
    table["roi"] = RoiRules(**table.get("roi", {}))
    for key, kinds in _CHOICES.items():
        if key in table:
            table[key] = kinds(table[key])
    if "readers" in table:
        table["readers"] = reader_plan(table["readers"])
    if table.get("walk", "best") not in WALKS:
        raise ExperimentInvalid(f"walk is one of {', '.join(WALKS)}, not {table['walk']!r}")
    return Experiment(**table, architecture=_architecture(kind, shape), digest=digest)


def _check_keys(table: dict[str, Any]) -> None:
    for old, new in RENAMED_KEYS.items():
        if old in table:
            raise ExperimentInvalid(f"{old} is now called {new}")
    valid = {"kind"} | {one.name for one in fields(Experiment)} - {"digest"}
    needed = {"kind"} | {one.name for one in fields(Experiment) if one.default is MISSING} - {
        "digest",
        "roi",
    }
    if unknown := sorted(set(table) - valid):
        raise ExperimentInvalid(
            f"unknown key {unknown[0]}; valid keys are {', '.join(sorted(valid))}"
        )
    if missing := sorted(needed - set(table)):
        raise ExperimentInvalid(f"missing {', '.join(missing)}")


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(value) if isinstance(value, list) else value for k, value in table.items()}


def _architecture(kind: str, shape: dict[str, Any]) -> ContourArchitecture | LesionArchitecture:
    if kind == "contour":
        return ContourArchitecture(**shape)
    if kind == "lesion":
        return LesionArchitecture(**shape | {"pooling": Pooling(shape["pooling"])})
    raise ExperimentInvalid(f"kind {kind!r} must be contour or lesion")
