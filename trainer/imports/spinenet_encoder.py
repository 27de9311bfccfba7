"""A site's own copy of SpineNet V2's encoder as the beginning of a lesion network.

The lesion network has that encoder's shape and attribute names, so its tensors fit as they are.
Its weights and licence are for non-commercial use: nothing of them is shipped, and whoever
imports them answers for their use. The checkpoint is read as tensors only; no code in it runs.

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

CHECKPOINT_KEY = "model_weights"
THEIR_HEADS = "fc_"
OUR_HEADS = "heads."
NAMES_SHOWN = 4


class EncoderInvalid(ValueError):
    """A checkpoint cannot serve as an encoder."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name.

    Raises
    ------
    EncoderInvalid
        If it cannot be read as tensors alone, or holds no dictionary of them.
    """
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EncoderInvalid(f"{path} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise EncoderInvalid(
            f"{path} is no checkpoint of tensors alone; a file that would run code is refused"
        ) from error
    tensors = kept.get(CHECKPOINT_KEY) if isinstance(kept, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise EncoderInvalid(
            f"{path} holds no {CHECKPOINT_KEY} with tensors; a SpineNet V2 checkpoint is needed"
        )
    return tensors


def with_encoder(tensors: Mapping[str, Tensor], architecture: LesionArchitecture) -> LesionResNet34:
    """A lesion network with an encoder's tensors, and heads that know nothing yet.

    Parameters
    ----------
    tensors
        By SpineNet V2's names; its own heads are left out.
    architecture
        Of the encoder: 64 wide with 3 × 3 × 3 kernels for SpineNet V2.

    Raises
    ------
    EncoderInvalid
        If a tensor is missing, extra, of another shape, or not finite; each is named.
    """
    network = LesionResNet34(architecture)
    ours = network.state_dict()
    wanted = {name: t for name, t in ours.items() if not name.startswith(OUR_HEADS)}
    given = {name: t for name, t in tensors.items() if not name.startswith(THEIR_HEADS)}
    faults = [
        *_faults("missing", sorted(set(wanted) - set(given))),
        *_faults("extra", sorted(set(given) - set(wanted))),
        *_faults("of another shape", _misshapen(wanted, given)),
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
    checkpoint: Annotated[Path, typer.Argument(help="Your own copy of SpineNet V2's weights.")],
    out: Annotated[Path, typer.Option(help="Folder to begin a training from.")] = Path(
        "runs/imported-encoder"
    ),
    pooling: Annotated[Pooling, typer.Option(help="global as in the paper, or zones.")] = (
        Pooling.GLOBAL
    ),
) -> None:
    """Write a lesion network that begins with SpineNet V2's encoder; it must still be trained.

    Name the folder as ``start`` in a lesion experiment of the same architecture.
    """
    card = write_start(checkpoint, LesionArchitecture(pooling=pooling), out)
    print(f"{out}: {card.architecture}, SHA-256 {card.sha256}; the heads know nothing yet")


def write_start(checkpoint: Path, architecture: LesionArchitecture, out: Path) -> Card:
    """A folder that training can begin from, with a checkpoint's encoder; its card.

    Raises
    ------
    EncoderInvalid
        As `read_checkpoint` and `with_encoder`.
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
        "data": "an encoder imported from a checkpoint of SpineNet V2's form, heads untrained",
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "notes": "pre-trained elsewhere on spinal disease",
    }
