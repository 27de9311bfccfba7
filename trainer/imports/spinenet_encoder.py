"""Imports a site's own copy of the SpineNet V2 encoder as initial weights of a lesion network.

The lesion network has the same shape and attribute names, so the tensors fit unchanged. The
SpineNet V2 licence allows non-commercial use only: no weights are shipped, and whoever imports
them is responsible for their use. The checkpoint is read as tensors only; no code in it is run.

Source: the public source of SpineNet V2: a dictionary with ``model_weights``, heads named
``fc_*``.
"""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from models.findings import HEADS
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling
from models.preprocess import PREPROCESSING_VERSION
from models.roi import RoiRules
from models.weights import INTENDED_USE, Card, save_network
from trainer.errors import TrainingInputInvalid

CHECKPOINT_KEY = "model_weights"
THEIR_HEADS = "fc_"
OUR_HEADS = "heads."
NAMES_SHOWN = 4


class EncoderInvalid(TrainingInputInvalid):
    """A checkpoint cannot be imported as an encoder."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name.

    Raises
    ------
    EncoderInvalid
        If it cannot be read as tensors only, or has no dictionary of them.
    """
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EncoderInvalid(f"{path} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise EncoderInvalid(
            f"{path} is not a checkpoint of tensors only; files that would run code are refused"
        ) from error
    tensors = kept.get(CHECKPOINT_KEY) if isinstance(kept, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise EncoderInvalid(
            f"{path} has no {CHECKPOINT_KEY} with tensors; a SpineNet V2 checkpoint is needed"
        )
    return tensors


def with_encoder(tensors: Mapping[str, Tensor], architecture: LesionArchitecture) -> LesionResNet34:
    """A lesion network with the tensors of an encoder and untrained heads.

    Parameters
    ----------
    tensors
        By SpineNet V2's names; its own heads are ignored.
    architecture
        Of the encoder: 64 wide with 3 × 3 × 3 kernels for SpineNet V2.

    Raises
    ------
    EncoderInvalid
        If a tensor is missing, extra, of the wrong shape, or not finite; all are named.
    """
    network = LesionResNet34(architecture)
    ours = network.state_dict()
    wanted = {name: t for name, t in ours.items() if not name.startswith(OUR_HEADS)}
    given = {name: t for name, t in tensors.items() if not name.startswith(THEIR_HEADS)}
    faults = [
        *_faults("missing", sorted(set(wanted) - set(given))),
        *_faults("extra", sorted(set(given) - set(wanted))),
        *_faults("wrong shape", _misshapen(wanted, given)),
        *_faults("not finite", [n for n, t in given.items() if not bool(t.isfinite().all())]),
    ]
    if faults:
        raise EncoderInvalid(f"the encoder does not fit: {'; '.join(faults)}")
    network.load_state_dict(ours | given)
    torch.nn.init.zeros_(network.heads.weight)
    torch.nn.init.zeros_(network.heads.bias)
    return network


def _misshapen(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(given))
        if given[name].shape != wanted[name].shape
    ]


def _faults(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = len(names) - NAMES_SHOWN
    shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return [f"{kind}: {shown}"]


def import_encoder(
    checkpoint: Annotated[Path, typer.Argument(help="Your own copy of the SpineNet V2 weights.")],
    out: Annotated[Path, typer.Option(help="Folder to write the initial weights to.")] = Path(
        "runs/imported-encoder"
    ),
    pooling: Annotated[Pooling, typer.Option(help="global (the paper's) or zones.")] = (
        Pooling.GLOBAL
    ),
) -> None:
    """Write a lesion network with the SpineNet V2 encoder as initial weights for training.

    Set ``initial_weights`` to the folder in a lesion experiment with the same architecture.
    """
    card = write_initial_weights(checkpoint, LesionArchitecture(pooling=pooling), out)
    print(f"{out}: {card.architecture}, SHA-256 {card.sha256}; the heads are untrained")


def write_initial_weights(checkpoint: Path, architecture: LesionArchitecture, out: Path) -> Card:
    """Write the initial weights from a checkpoint's encoder; return their card.

    Raises
    ------
    EncoderInvalid
        See `read_checkpoint` and `with_encoder`.
    """
    network = with_encoder(read_checkpoint(checkpoint), architecture)
    card = Card(
        "imported encoder",
        "0",
        architecture,
        PREPROCESSING_VERSION,
        f"{INTENDED_USE}; the encoder's own licence applies",
        _origin(checkpoint),
        {},
        {"roi": asdict(RoiRules()), "thresholds": [0.5] * len(HEADS)},
    )
    return save_network(network.eval(), card, out)


def _origin(checkpoint: Path) -> dict[str, Any]:
    return {
        "data": "an encoder imported from a SpineNet V2 checkpoint; heads untrained",
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "notes": "pre-trained on spinal disease by its authors",
    }
