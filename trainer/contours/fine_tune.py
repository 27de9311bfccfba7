"""Trains the shipped contour networks on a site's own cases: ``python -m trainer fine-tune``.

Each delineating network of the weights goes on learning at a low rate from the squares that
`import-cases` cut around the drawn joints, mixed with simulated ones where there are any, so that
what they knew is not forgotten. The finding network stays as it is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer

from models.findings import Side
from models.joint_delineation import JointRules, view_of
from models.joint_unet import (
    SQUARE_MM,
    SQUARE_PX,
    JointNetwork,
    JointUNet,
    standardised,
    triples,
)
from models.weights import (
    OWN_INTENDED_USE,
    LoadedNetwork,
    load_network,
    read_card,
    save_network,
)
from trainer.command_options import Threads
from trainer.contours.image_stacks import ImageStack, read_stacks, stacks_path
from trainer.contours.slab_training import JointStocks, StackStock
from trainer.contours.train_joint import (
    JointLearner,
    JointPlan,
    JointValidation,
    best_average,
    train_until,
)
from trainer.distributed import use_threads
from trainer.errors import TrainingInputInvalid
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.malloc import keep_freed_memory
from trainer.metrics.contour_error import contour_error
from trainer.phantom.draw_slabs import CACHE, SlabKind
from trainer.run_metadata import code_version, pre_training
from trainer.subjects import check_split, subject_digests
from trainer.training_curves import VALIDATION
from trainer.training_loop import VALIDATION_LOSS

Range = tuple[int, int]

MISSED_MM = 5.0
"""What a missed or false line costs when the best weights are chosen."""


@dataclass(frozen=True)
class SquareErrors:
    """How well networks draw the joints in held-out squares, whose middle is known.

    Parameters
    ----------
    lines
        Drawn joints.
    missed, false
        Drawn joints without a contour, and contours where none was drawn, as shares of the lines.
    p50_mm, p95_mm
        Of the RMS; infinite where more are missed.
    cost_mm
        Mean RMS of all lines, where MISSED_MM stands for a missed line and is added for a false
        one.
    """

    lines: int
    missed: float
    false: float
    p50_mm: float
    p95_mm: float
    cost_mm: float

    def __str__(self) -> str:
        return (
            f"{self.lines} lines, missed {self.missed:.1%}, false {self.false:.1%}, "
            f"RMS p50 {self.p50_mm:.2f} mm, p95 {self.p95_mm:.2f} mm"
        )


def fine_tune(
    cases: Annotated[Path, typer.Argument(help="Folder that import-cases prepared.")],
    training: Annotated[Range, typer.Option(help="First training case, and the first beyond.")],
    validation: Annotated[Range, typer.Option(help="Likewise for validation.")],
    weights: Annotated[Path, typer.Option(help="Folder for weights and card.")],
    version: Annotated[str, typer.Option(help="Of the resulting network.")],
    start: Annotated[Path, typer.Option(help="Contour weights to start from.")] = SHIPPED_WEIGHTS
    / "contour",
    minutes: Annotated[float, typer.Option(help="Of training, of all networks together.")] = 60.0,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 16,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
    cache: Annotated[
        Path, typer.Option(help="Squares and slabs of phantoms to mix in: draw-stacks, draw-slabs.")
    ] = CACHE,
    runs: Annotated[Path, typer.Option(help="Where the checkpoints are kept.")] = Path("runs"),
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after N validations without improvement; 0: never.")
    ] = 5,
    threads: Threads = 0,
) -> None:
    """Train the shipped contour networks on own cases; compare both on the validation cases.

    Each network is measured on the validation cases ten times while it trains, and the best of
    its averages is kept.
    """
    keep_freed_memory()
    use_threads(threads)
    check_split(cases, (training, validation))
    if weights.resolve() == start.resolve():
        raise TrainingInputInvalid(f"{weights} would be overwritten: name another --weights")
    before = _joint_network(start)
    network = cast(JointNetwork, before.network)
    own = _squares(cases, training)
    held_out = list(_held_out(cases, validation))
    earlier = square_errors(network, held_out)
    tuned = JointNetwork(network.architecture)
    tuned.load_state_dict(network.state_dict())
    for number, part in enumerate(tuned.delineators):
        torch.manual_seed(seed + number)
        stocks = JointStocks.of(cache, SlabKind.CLOSE, own)
        plan = JointPlan(
            SlabKind.CLOSE, minutes / len(tuned.delineators), batch, rate, seed + number
        )
        learner = JointLearner.begun(cast(JointUNet, part), rate)
        print(f"network {number + 1} of {len(tuned.delineators)}")
        folder = runs / f"fine-tune-{version}-{number}"
        train_until(learner, stocks, plan, folder, _validation(network, held_out, patience))
        part.load_state_dict(best_average(learner, plan.kind, folder))
    later = square_errors(tuned.eval(), held_out)
    card = replace(
        before.card,
        version=version,
        intended_use=OWN_INTENDED_USE,
        training=_record(cases, training, validation, start, seed, minutes),
        metrics={"own validation": {"before": asdict(earlier), "after": asdict(later)}},
    )
    written = save_network(tuned, card, weights)
    print(f"validation cases before: {earlier}\nvalidation cases after:  {later}")
    print(f"contour {written.version} written, SHA-256 {written.sha256}")


def _joint_network(folder: Path) -> LoadedNetwork:
    loaded = load_network(folder)
    if not isinstance(loaded.network, JointNetwork):
        raise TrainingInputInvalid(
            f"{folder} holds {loaded.card.name} {loaded.card.version}, not the joint networks; "
            "train contour goes on from a network of whole slices"
        )
    loaded.network.requires_grad_(True)
    return loaded


def _squares(cases: Path, training: Range) -> StackStock:
    stock = StackStock.of_cases(cases, SlabKind.CLOSE, range(*training))
    if not stock.images:
        raise TrainingInputInvalid(
            f"{cases} has no drawn joints in cases {training[0]} to {training[1] - 1}: give the "
            "training range that import-cases printed, and import again what an earlier version "
            "prepared"
        )
    return stock


def _held_out(cases: Path, validation: Range) -> list[ImageStack]:
    paths = (stacks_path(cases, SlabKind.CLOSE, number) for number in range(*validation))
    stacks = [stack for path in paths if path.exists() for stack in read_stacks(path)]
    if all(np.isnan(stack.lines).any(axis=(1, 2, 3)).all() for stack in stacks):
        raise TrainingInputInvalid(
            f"{cases} has no drawn joints in cases {validation[0]} to {validation[1] - 1}, so "
            "nothing shows whether training helped: give the validation range that import-cases "
            "printed"
        )
    return stacks


def _validation(
    network: JointNetwork, held_out: Sequence[ImageStack], patience: int
) -> JointValidation:
    """Measures one delineating network by itself, on the squares of the validation cases."""
    alone = JointNetwork(replace(network.architecture, members=1)).eval()
    (delineator,) = alone.delineators

    def measure(candidate: JointUNet) -> dict[str, float]:
        delineator.load_state_dict(candidate.state_dict())
        errors = square_errors(alone, held_out)
        return {
            VALIDATION_LOSS: errors.cost_mm,
            f"{VALIDATION}RMS p50, mm": errors.p50_mm,
            f"{VALIDATION}missed, %": 100 * errors.missed,
            f"{VALIDATION}false, %": 100 * errors.false,
        }

    return JointValidation(measure, patience)


def square_errors(network: JointNetwork, stacks: Sequence[ImageStack]) -> SquareErrors:
    """Errors on squares around joints, each slice for itself."""
    rules, rms, false = JointRules(), [], 0
    for stack in stacks:
        margin = (stack.images.shape[-1] - SQUARE_PX) // 2
        inner = slice(margin, margin + SQUARE_PX)
        images = torch.from_numpy(stack.images[:, inner, inner].astype(np.float32))
        with torch.inference_mode():
            maps, logits = network.delineate(standardised(triples(images)))
        view = view_of(Side.LEFT, maps.numpy(), logits.numpy().astype(float), np.zeros(2), rules)
        for truth, line, evidence in zip(
            stack.lines[:, 0] - margin, view.lines, view.evidence, strict=True
        ):
            found = None if line is None or evidence <= rules.presence_logit else line * SQUARE_MM
            if np.isnan(truth).any():
                false += found is not None
            else:
                rms.append(contour_error(truth.astype(float) * SQUARE_MM, found).rms)
    errors = np.array(rms)
    percentiles = np.percentile(errors, [50, 95], method="higher")
    missed = float(np.isinf(errors).mean())
    cost_mm = float(errors.clip(max=MISSED_MM).mean()) + MISSED_MM * false / len(rms)
    p50_mm, p95_mm = map(float, percentiles)
    return SquareErrors(len(rms), missed, false / len(rms), p50_mm, p95_mm, cost_mm)


def _record(
    cases: Path, training: Range, validation: Range, start: Path, seed: int, minutes: float
) -> dict[str, Any]:
    """The training section of the card."""
    ranges = {"training": training, "validation": validation}
    return {
        "data": f"a site's own: {cases.name}",
        "cases": ranges,
        "subjects": {name: subject_digests(cases, range(*one)) for name, one in ranges.items()},
        "seed": seed,
        "minutes": minutes,
        "code": code_version(),
        "torch": torch.__version__,
        "start": read_card(start).sha256,
        "pre_training": pre_training(start),
    }
