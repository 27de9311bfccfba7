"""A network as it is handed over: a weights file, and a card that says what it is.

The card names the network, the data it was trained on, how good it was there, and what it must
not be used for. A file that does not fit its card, or a card that does not fit this software, is
refused before anything is analysed.
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
from models.contour_pair import ContourPair, PairArchitecture
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

Architecture = ContourArchitecture | JointArchitectures | PairArchitecture | LesionArchitecture
Network = ContourUNet | JointNetwork | ContourPair | LesionResNet34


class WeightsInvalid(ValueError):
    """A weights file or its card is missing, damaged or does not fit."""


@dataclass(frozen=True)
class Card:
    """What is known of a network.

    Parameters
    ----------
    name, version
        Of the network.
    architecture
        The numbers that fix its shape.
    preprocessing_version
        Of the preprocessing it was trained with.
    intended_use
        Who may use it for what.
    training
        Data, seeds, digest of the experiment, steps: whatever is needed to train it again.
    metrics
        How good it was on phantoms it had never seen, and the command that measures it.
    settings
        What belongs to the network besides its weights: the presence threshold of the contour
        network, the squares and the threshold of each head of the lesion network.
    known_case
        What it answers to a fixed input.
    sha256
        Of the weights file.
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
    """A network ready to answer, with its card."""

    network: Network
    card: Card


def build(architecture: Architecture) -> Network:
    """An untrained network of a given shape."""
    if isinstance(architecture, ContourArchitecture):
        return ContourUNet(architecture)
    if isinstance(architecture, JointArchitectures):
        return JointNetwork(architecture)
    if isinstance(architecture, PairArchitecture):
        return ContourPair(architecture)
    return LesionResNet34(architecture)


def save_network(network: Network, card: Card, folder: Path) -> Card:
    """Write the weights (as 16-bit floats) and the card, completed by digest and known case.

    Returns
    -------
    Card
        As written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: _for_storage(tensor) for name, tensor in network.state_dict().items()}
    content = save_tensors(stored)
    answering = build(card.architecture)
    answering.load_state_dict(_as_float32(stored))
    complete = replace(
        card,
        sha256=hashlib.sha256(content).hexdigest(),
        known_case=known_answer(answering.eval()),
    )
    (folder / TENSORS_NAME).write_bytes(content)
    (folder / CARD_NAME).write_text(
        json.dumps(asdict(complete), indent=2, ensure_ascii=False) + "\n"
    )
    return complete


def _for_storage(tensor: Tensor) -> Tensor:
    kept = tensor.half() if tensor.is_floating_point() else tensor
    return kept.contiguous().clone()


def _as_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def load_network(folder: Path) -> LoadedNetwork:
    """Read a network and check that everything about it fits.

    Parameters
    ----------
    folder
        Holds ``card.json`` and ``weights.safetensors``.

    Raises
    ------
    WeightsInvalid
        If a file is missing or damaged, the digest differs, or the card does not fit the
        weights or this software.
    """
    card = read_card(folder)
    content = _read(folder / TENSORS_NAME)
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise WeightsInvalid(
            f"{folder / TENSORS_NAME} has SHA-256 {found}, its card says {card.sha256}; "
            "copy both files again"
        )
    try:
        tensors = _as_float32(load_tensors(content))
    except SafetensorError as error:
        raise WeightsInvalid(f"{folder / TENSORS_NAME} is no safetensors file: {error}") from error
    network = build(card.architecture)
    _check_fit(network, tensors, folder)
    network.load_state_dict(tensors)
    return LoadedNetwork(network.eval().requires_grad_(False), card)


def read_card(folder: Path) -> Card:
    """Read and check a card alone.

    Raises
    ------
    WeightsInvalid
        If it is missing, is no JSON, lacks a field, or is of another preprocessing version.
    """
    path = folder / CARD_NAME
    try:
        written = json.loads(_read(path))
        card = Card(**written | {"architecture": _architecture(written["architecture"])})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise WeightsInvalid(f"{path} is no usable card: {error}") from error
    if card.preprocessing_version != PREPROCESSING_VERSION:
        raise WeightsInvalid(
            f"{path} is for preprocessing version {card.preprocessing_version}, this software "
            f"has {PREPROCESSING_VERSION}; use weights of the same release"
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
    if "whole" in shape:
        whole = ContourArchitecture(**shape["whole"])
        return PairArchitecture(_joint_architectures(shape["joints"]), whole)
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
            f"{folder}: the weights do not fit the card's architecture; "
            f"{len(differing)} tensors are missing, extra or of another shape, "
            f"the first is {differing[0][0]}"
        )
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise WeightsInvalid(f"{folder}: the weights hold values that are not finite")


def check_known_case(loaded: LoadedNetwork, device: torch.device) -> None:
    """Ask a network for its known case and compare.

    Parameters
    ----------
    loaded
        May already be prepared for speed; that must not change its answers.
    device
        Where the network is.

    Raises
    ------
    WeightsInvalid
        If an answer is further off than rounding explains: this machine computes it wrongly.
    """
    answers = known_answer(loaded.network, device)
    for name, expected in loaded.card.known_case.items():
        answer = answers.get(name, float("nan"))
        if not abs(answer - expected) <= KNOWN_CASE_TOLERANCE * max(1.0, abs(expected)):
            raise WeightsInvalid(
                f"{loaded.card.name} {loaded.card.version} answers its known case with {name} "
                f"{answer:.4f} instead of {expected:.4f} on {device} ({platform.machine()})"
            )


def known_answer(network: Network, device: torch.device | None = None) -> dict[str, float]:
    """What a network says of a fixed, formula-made input.

    Returns
    -------
    dict
        Mean and spread of each output, by name.
    """
    if isinstance(network, ContourPair):
        return known_answer(network.joints, device) | known_answer(network.whole, device)
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
    """Mean and spread of each channel of some maps, ``(n, channels, size, size)``."""
    there = maps.float().cpu()
    means, spreads = there.mean(dim=(0, 2, 3)), there.std(dim=(0, 2, 3))
    named = {f"{name} {n} mean": float(value) for n, value in enumerate(means)}
    return named | {f"{name} {n} spread": float(value) for n, value in enumerate(spreads)}


def _waves() -> Tensor:
    """Slices of crossing waves between 0 and 2, ``(3, 64, 64)``; no random numbers."""
    line = np.arange(_KNOWN_SIDE_PX) / _KNOWN_SIDE_PX
    row, column = np.meshgrid(line, line, indexing="ij")
    slices = [
        1 + np.sin(9 * row + number) * np.cos(13 * column * (1 + row))
        for number in range(_KNOWN_SLICES)
    ]
    return torch.from_numpy(np.stack(slices).astype(np.float32))
