"""Writes the weights and card of a trained pair of joint networks: ``export-joint``."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from models.joint_delineation import JointRules
from models.joint_unet import JointNetwork
from models.preprocess import PREPROCESSING_VERSION
from models.weights import INTENDED_USE, Card, save_network
from trainer.contours.image_stacks import stacks_folder
from trainer.contours.train_joint import SHAPES
from trainer.phantom.draw_slabs import CACHE, CHUNK, SlabKind
from trainer.run_metadata import code_version

NOTES = (
    "One network finds both joints on whole slices at 3 mm a pixel; another, or the mean of "
    "several, delineates one joint at a time in a square of 101 mm at .9 mm a pixel. They learnt "
    "from label slabs of simulated pelves, with appearances drawn anew at every step, and from "
    "squares of the first phantom's studies. The generator was tuned, and the rules and the "
    "checkpoints were chosen, on real images published with PLOS ONE "
    "10.1371/journal.pone.0284508; no weights were trained on them."
)


def export_joint(
    version: Annotated[str, typer.Option(help="Of the network.")],
    weights: Annotated[Path, typer.Option(help="Folder for weights and card.")],
    runs: Annotated[Path, typer.Option(help="Where the checkpoints are.")] = Path("runs"),
    member: Annotated[
        list[Path], typer.Option(help="Checkpoint of a delineating network; one for each.")
    ] = [],  # noqa: B006  typer copies it
    cache: Annotated[Path, typer.Option(help="Where the label slabs are.")] = CACHE,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 1,
) -> None:
    """Write the averaged weights of all checkpoints with a card that has no scores yet."""
    members = member or [runs / "close.pt"]
    network = JointNetwork(replace(SHAPES, members=len(members)))
    record: dict[str, Any] = {
        "data": "label slabs drawn by trainer.phantom.label_slabs and studies of the first "
        "phantom; no patient was involved",
        "seed": seed,
        "code": code_version(),
        "torch": torch.__version__,
        "notes": NOTES,
    }
    record["field"] = _taken(network.finder, runs / "field.pt", SlabKind.FIELD, cache)
    record["close"] = [
        _taken(delineator, checkpoint, SlabKind.CLOSE, cache)
        for delineator, checkpoint in zip(network.delineators, members, strict=True)
    ]
    card = Card(
        "contour",
        version,
        network.architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE,
        record,
        {},
        {"rules": asdict(JointRules())},
    )
    written = save_network(network.eval(), card, weights)
    print(f"contour {written.version} written, SHA-256 {written.sha256}")


def _taken(part: nn.Module, checkpoint: Path, kind: SlabKind, cache: Path) -> dict[str, Any]:
    """Give a network the averaged weights of its checkpoint; say how it was trained."""
    if not checkpoint.exists():
        raise typer.BadParameter(f"{checkpoint} is missing: run train-joint {kind}")
    state = torch.load(checkpoint, weights_only=True)
    part.load_state_dict(state["average"])
    return {
        "slabs": CHUNK * _files(cache / kind),
        "studies": _files(stacks_folder(cache, kind)),
        "steps": state["steps"],
        "minutes": round(state["seconds"] / 60, 1),
    }


def _files(folder: Path) -> int:
    return len(list(folder.glob("*.npz")))
