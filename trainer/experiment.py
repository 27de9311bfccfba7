"""An experiment: everything that decides how a network comes out, read from one TOML file.

Training twice from the same file and the same phantom gives the same cases in the same order.
"""

import hashlib
import tomllib
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from models.contour_unet import ContourArchitecture
from models.lesion_resnet34 import LesionArchitecture, Pooling
from models.roi import RoiRules
from models.walk import WALKS
from trainer.readers.reader_plan import ReaderPlan, reader_plan

RUNS_FOLDER = Path("runs")
CASES = "cases"
"""The folder of prepared cases within the folder of runs."""


class Field(StrEnum):
    """Which direction field the contour network learns."""

    BLENDED = "blended"
    LITERAL = "literal"


class Rate(StrEnum):
    """How the learning rate goes: down along half a cosine, or not at all (the paper's)."""

    FALLING = "falling"
    CONSTANT = "constant"


class Augmentation(StrEnum):
    """How training images are changed: as the paper says, or far beyond."""

    PAPER = "paper"
    BEYOND = "beyond"


class ExperimentInvalid(ValueError):
    """An experiment's file cannot be used."""


@dataclass(frozen=True)
class CaseSplit:
    """Which cases serve for what: half-open ranges of numbers that never overlap.

    Parameters
    ----------
    folder
        Of prepared cases within the folder of runs; phantoms are drawn where it is left out, and
        a case's number is then its seed.
    """

    training: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]
    folder: str = CASES

    @property
    def are_phantoms(self) -> bool:
        """Whether missing cases can be drawn."""
        return self.folder == CASES

    def __post_init__(self) -> None:
        ranges = sorted((self.training, self.validation, self.test))
        if any(first >= last for first, last in ranges):
            raise ExperimentInvalid(f"a range of cases is empty: {ranges}")
        if any(one[1] > two[0] for one, two in pairwise(ranges)):
            raise ExperimentInvalid(f"a subject serves for two purposes: {ranges}")


@dataclass(frozen=True)
class Experiment:
    """What a training needs to know.

    Parameters
    ----------
    name, version
        Of the network that comes out.
    steps, batch
        How long, and how many slices (contour) or joints (lesion) at a time.
    learning_rate
        Adam's, at its highest.
    seed
        Of initialisation, order and augmentation.
    cases
        The split by subject.
    architecture
        Of the contour or the lesion network.
    roi
        How the lesion network's squares are cut.
    digest
        SHA-256 of the file's text.
    field
        Which field the contour network is taught; no other network uses it, nor the next three.
    field_floor
        Weight of the field's loss far from the contour, where it is 1; 1 is the paper's.
    augmentation
        How training images are changed.
    walk
        How contours are found in the network's maps: "best" or "literal" (models.walk.WALKS).
    rate
        How the learning rate goes.
    notes
        What a reader of the card should know, such as where the network leaves the paper.
    start
        Folder of the weights from which training goes on; empty for a fresh beginning.
    readers
        From which readings the lesion network learns, and how; None for true labels.
    pits
        Share of the joints into which the lesion network's training sets erosions of its own;
        only where it learns from true labels.
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
    start: str = ""
    readers: ReaderPlan | None = None
    pits: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.pits <= 1:
            raise ExperimentInvalid(f"pits is a share, 0 to 1, not {self.pits}")
        if self.pits and self.readers:
            raise ExperimentInvalid("nobody has read the pits that are set: leave out one of both")

    @property
    def folder(self) -> str:
        """Where the run's checkpoint is, within the folder of runs."""
        return f"{self.name}-{self.version}"


_CHOICES: dict[str, type[StrEnum]] = {
    "field": Field,
    "augmentation": Augmentation,
    "rate": Rate,
}


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment.

    Raises
    ------
    ExperimentInvalid
        If a key is missing, unknown or has an impossible value.
    """
    text = path.read_bytes()
    table = tomllib.loads(text.decode())
    try:
        kind, shape = table.pop("kind"), table.pop("architecture")
        table["cases"] = CaseSplit(**_tuples(table["cases"]))
        table["roi"] = RoiRules(**table.get("roi", {}))
        for key, kinds in _CHOICES.items():
            if key in table:
                table[key] = kinds(table[key])
        if "readers" in table:
            table["readers"] = reader_plan(table["readers"])
        if table.get("walk", "best") not in WALKS:
            raise ExperimentInvalid(f"walk {table['walk']!r} is not among {', '.join(WALKS)}")
        digest = hashlib.sha256(text).hexdigest()
        return Experiment(**table, architecture=_architecture(kind, shape), digest=digest)
    except (KeyError, TypeError, ValueError) as error:
        wanted = ", ".join(field.name for field in fields(Experiment) if field.name != "digest")
        raise ExperimentInvalid(f"{path}: {error}; it needs kind, {wanted}") from error


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(value) if isinstance(value, list) else value for k, value in table.items()}


def _architecture(kind: str, shape: dict[str, Any]) -> ContourArchitecture | LesionArchitecture:
    if kind == "contour":
        return ContourArchitecture(**shape)
    if kind == "lesion":
        return LesionArchitecture(**shape | {"pooling": Pooling(shape["pooling"])})
    raise ExperimentInvalid(f"kind {kind!r} is neither contour nor lesion")
