"""Writes the weights and card of a trained pair of joint networks: ``export-joint``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from models.contour_pair import ContourPair, PairArchitecture
from models.contour_unet import ContourUNet
from models.delineate import PairRules
from models.joint_delineation import JointRules
from models.joint_unet import JointNetwork
from models.preprocess import PREPROCESSING_VERSION
from models.weights import INTENDED_USE, Card, load_network, save_network
from trainer.contours.train_joint import SHAPES
from trainer.phantom.draw_slabs import CACHE, CHUNK, SlabKind
from trainer.run_metadata import code_version

NOTES = (
    "A pair of networks, of which the surer one answers a study. The new one is two networks: "
    "one finds both joints on whole slices at 3 mm a pixel, the other delineates "
    "one joint at a time in a square of 101 mm at .9 mm a pixel. They learnt from labels "
    "of simulated pelves with appearances drawn anew at every step. The generator was tuned, "
    "and the rules by "
    "which answers are read were chosen, on real images published with PLOS ONE "
    "10.1371/journal.pone.0284508; no weights were trained on them."
)


def export_joint(
    version: Annotated[str, typer.Option(help="Of the network.")],
    weights: Annotated[Path, typer.Option(help="Folder for weights and card.")],
    whole: Annotated[Path, typer.Option(help="Folder of the network of whole slices.")],
    runs: Annotated[Path, typer.Option(help="Where the checkpoints are.")] = Path("runs"),
    cache: Annotated[Path, typer.Option(help="Where the label slabs are.")] = CACHE,
    seed: Annotated[int, typer.Option(help="With which training ran.")] = 1,
) -> None:
    """Write the averaged weights of both checkpoints with a card that has no scores yet."""
    network = JointNetwork(SHAPES)
    other = load_network(whole)
    if not isinstance(other.network, ContourUNet):
        raise typer.BadParameter(f"{whole} holds no network of whole slices")
    record: dict[str, Any] = {
        "data": "label slabs drawn by trainer.phantom.label_slabs; no patient was involved",
        "seed": seed,
        "code": code_version(),
        "torch": torch.__version__,
        "notes": NOTES,
    }
    for kind, part in ((SlabKind.FIELD, network.finder), (SlabKind.CLOSE, network.delineator)):
        state = torch.load(runs / f"{kind}.pt", weights_only=True)
        part.load_state_dict(state["average"])
        record[str(kind)] = {
            "slabs": CHUNK * len(list((cache / kind).glob("*.npz"))),
            "steps": state["steps"],
            "minutes": round(state["seconds"] / 60, 1),
        }
    pair = ContourPair(PairArchitecture(network.architecture, other.network.architecture))
    pair.joints, pair.whole = network, other.network
    record["whole"] = {"version": other.card.version, "sha256": other.card.sha256}
    record["whole"] |= dict(other.card.training)
    card = Card(
        "contour",
        version,
        pair.architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE,
        record,
        {},
        {"rules": asdict(JointRules()), "least_quality": PairRules.least_quality}
        | dict(other.card.settings),
    )
    written = save_network(pair.eval(), card, weights)
    print(f"contour {written.version} written, SHA-256 {written.sha256}")
