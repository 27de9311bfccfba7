"""A released network: a weights file and its model card.

The card states the network's name, training data, performance and intended use. Weights that do
not match their card, and cards that do not match this software, are refused before any analysis.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models.contour_maps import with_neighbours
from models.contour_unet import ContourArchitecture, ContourUNet
from models.findings import HEADS
from models.joint_unet import (
    JointArchitecture,
    JointArchitectures,
    JointNetwork,
    standardised,
    triples,
)
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling
from models.preprocess import PREPROCESSING_VERSION

CARD_NAME, TENSORS_NAME = "card.json", "weights.safetensors"
INTENDED_USE = "Trained on phantoms, not for clinical use"
OWN_INTENDED_USE = "Trained on a site's own cases, for research, not for clinical use"
KNOWN_CASE_TOLERANCE = 0.02
_KNOWN_SLICES, _KNOWN_SIDE_PX = 3, 64

Architecture = ContourArchitecture | JointArchitectures | LesionArchitecture
Network = ContourUNet | JointNetwork | LesionResNet34


class WeightsInvalid(ValueError):
    """A weights file or its model card is missing, damaged or incompatible."""


@dataclass(frozen=True)
class Card:
    """The model card of a network.

    Parameters
    ----------
    name, version
        Name and version of the network.
    architecture
        Hyperparameters.
    preprocessing_version
        Version of the preprocessing it was trained with.
    intended_use
        Intended use, and who may use it.
    training
        Data, seeds, digest of the experiment, steps: everything needed to reproduce the training.
    metrics
        Performance on held-out phantoms, and the command that measures it.
    settings
        Parameters of inference: the contour network's presence threshold, the lesion network's
        ROI and thresholds.
    known_case
        Expected outputs for a fixed input.
    sha256
        Digest of the weights file.
    """

    name: str
    version: str
    architecture: Architecture
    preprocessing_version: int
    intended_use: str
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    known_case: Mapping[str, float] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A network in evaluation mode, with its model card."""

    network: Network
    card: Card


def build(architecture: Architecture) -> Network:
    """An untrained network of the given architecture."""
    if isinstance(architecture, ContourArchitecture):
        return ContourUNet(architecture)
    if isinstance(architecture, JointArchitectures):
        return JointNetwork(architecture)
    return LesionResNet34(architecture)


def save_network(network: Network, card: Card, folder: Path) -> Card:
    """Write the weights as 16-bit floats, and the card with their digest and the known case.

    Returns
    -------
    Card
        The card as written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: _for_storage(tensor) for name, tensor in network.state_dict().items()}
    content = save_tensors(stored)
    reloaded = build(card.architecture)
    reloaded.load_state_dict(_as_float32(stored))
    complete = replace(
        card,
        sha256=hashlib.sha256(content).hexdigest(),
        known_case=known_answer(reloaded.eval()),
    )
    (folder / TENSORS_NAME).write_bytes(content)
    (folder / CARD_NAME).write_text(
        json.dumps(asdict(complete), indent=2, ensure_ascii=False) + "\n"
    )
    return complete


def _for_storage(tensor: Tensor) -> Tensor:
    stored = tensor.half() if tensor.is_floating_point() else tensor
    return stored.contiguous().clone()


def _as_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def load_network(folder: Path) -> LoadedNetwork:
    """Load a network and check its weights and card.

    Parameters
    ----------
    folder
        Contains ``card.json`` and ``weights.safetensors``.

    Raises
    ------
    WeightsInvalid
        If a file is missing or damaged, the digest differs, or the card does not match the
        weights or this software.
    """
    card = read_card(folder)
    content = _read(folder / TENSORS_NAME)
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise WeightsInvalid(
            f"{folder / TENSORS_NAME} has SHA-256 {found}, but its card states {card.sha256}; "
            "copy both files again"
        )
    try:
        tensors = _as_float32(load_tensors(content))
    except SafetensorError as error:
        raise WeightsInvalid(
            f"{folder / TENSORS_NAME} is not a valid safetensors file: {error}"
        ) from error
    network = build(card.architecture)
    _check_fit(network, tensors, folder)
    network.load_state_dict(tensors)
    return LoadedNetwork(network.eval().requires_grad_(False), card)


def read_card(folder: Path) -> Card:
    """Read and check a model card without its weights.

    Raises
    ------
    WeightsInvalid
        If it is missing, not JSON, incomplete, or of another preprocessing version.
    """
    path = folder / CARD_NAME
    try:
        written = json.loads(_read(path))
        card = Card(**written | {"architecture": _architecture(written["architecture"])})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise WeightsInvalid(f"{path} is not a valid model card: {error}") from error
    if card.preprocessing_version != PREPROCESSING_VERSION:
        raise WeightsInvalid(
            f"{path} is for preprocessing version {card.preprocessing_version}, but this software "
            f"uses {PREPROCESSING_VERSION}; use weights of the same release"
        )
    return card


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsInvalid(f"{path} cannot be read: {error.strerror}") from error


def _architecture(shape: dict[str, Any]) -> Architecture:
    if "pooling" in shape:
        return LesionArchitecture(**shape | {"pooling": Pooling(shape["pooling"])})
    if "finder" in shape:
        return _joint_architectures(shape)
    return ContourArchitecture(**shape)


def _joint_architectures(shape: Mapping[str, Any]) -> JointArchitectures:
    finder, delineator = (JointArchitecture(**shape[name]) for name in ("finder", "delineator"))
    return JointArchitectures(finder, delineator, shape["members"])


def _check_fit(network: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != found:
        differing = sorted(set(wanted.items()) ^ set(found.items()))
        raise WeightsInvalid(
            f"{folder}: the weights do not match the card's architecture; "
            f"{len(differing)} tensors are missing, extra or of the wrong shape, "
            f"starting with {differing[0][0]}"
        )
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise WeightsInvalid(f"{folder}: the weights contain values that are not finite")


def check_known_case(loaded: LoadedNetwork, device: torch.device) -> None:
    """Run the known case and compare the outputs with those on the card.

    Parameters
    ----------
    loaded
        May already be optimised for inference, which must not change its outputs.
    device
        The network's device.

    Raises
    ------
    WeightsInvalid
        If an output differs by more than rounding, so results on this machine would be wrong.
    """
    answers = known_answer(loaded.network, device)
    for name, expected in loaded.card.known_case.items():
        answer = answers.get(name, float("nan"))
        if not abs(answer - expected) <= KNOWN_CASE_TOLERANCE * max(1.0, abs(expected)):
            raise WeightsInvalid(
                f"{loaded.card.name} {loaded.card.version} fails its known case on {device} "
                f"({platform.machine()}): {name} is {answer:.4f} instead of {expected:.4f}"
            )


def known_answer(network: Network, device: torch.device | None = None) -> dict[str, float]:
    """Outputs of a network for a fixed synthetic input.

    Returns
    -------
    dict
        Probability of each head, or mean and standard deviation of each output channel, by name.
    """
    waves = _waves().to(device or "cpu")
    with torch.inference_mode():
        if isinstance(network, JointNetwork):
            stacks = standardised(triples(waves))
            return _of_channels("finder", network.find(stacks)) | _of_channels(
                "delineator", network.delineate(stacks)[0]
            )
        if isinstance(network, ContourUNet):
            slices = with_neighbours(waves.unsqueeze(1), network.architecture.slice_offsets)
            return _of_channels("channel", network(slices))
        zones = (waves * 2.999).to(torch.uint8)
        present = torch.ones(1, _KNOWN_SLICES, dtype=torch.bool, device=waves.device)
        t1 = network.encode(waves[None], zones[None], present)
        stir = network.encode(waves[None].flip(-1), zones[None].flip(-1), present)
        logits = network(t1, stir).float().cpu()[0]
        heads = (f"{head.region} {head.lesion}" for head in HEADS)
        return {head: float(value) for head, value in zip(heads, logits.sigmoid(), strict=True)}


def _of_channels(name: str, maps: Tensor) -> dict[str, float]:
    """Mean and standard deviation of each channel of maps ``(n, channels, size, size)``."""
    channels = maps.float().cpu()
    means, spreads = channels.mean(dim=(0, 2, 3)), channels.std(dim=(0, 2, 3))
    named = {f"{name} {n} mean": float(value) for n, value in enumerate(means)}
    return named | {f"{name} {n} spread": float(value) for n, value in enumerate(spreads)}


def _waves() -> Tensor:
    """Slices of crossed sine waves between 0 and 2, ``(3, 64, 64)``; nothing is random."""
    line = np.arange(_KNOWN_SIDE_PX) / _KNOWN_SIDE_PX
    row, column = np.meshgrid(line, line, indexing="ij")
    slices = [
        1 + np.sin(9 * row + number) * np.cos(13 * column * (1 + row))
        for number in range(_KNOWN_SLICES)
    ]
    return torch.from_numpy(np.stack(slices).astype(np.float32))
