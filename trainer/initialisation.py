"""Where a training begins: with empty maps, or with the weights of a network trained before.

A network may be wider than the one before. It begins by saying what the narrower one said:
channels stand there more than once, and whoever listens to them gives each copy a share of the
weight, unequal by chance, so that the copies can learn different things. What the one before did
not see, neighbouring slices or a joint's regions, begins with no weight.

Source: Chen et al., "Net2Net" (ICLR 2016), the wider network.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from models.contour_pair import ContourPair
from models.contour_unet import ContourArchitecture, ContourUNet
from models.lesion_resnet34 import LesionResNet34
from models.weights import load_network
from trainer.experiment import Experiment, ExperimentInvalid


def begin_empty(network: ContourUNet) -> None:
    """Have a new network give empty maps.

    The random ones that it would give are so far off that it unlearns whatever it sees, and then
    takes a thousand steps to find the small heat of the ends.
    """
    for part in network.head.parameters():
        nn.init.zeros_(part)


def continue_from(plan: Experiment, network: nn.Module) -> None:
    """Take over the weights from which an experiment goes on, if it names any.

    Parameters
    ----------
    plan
        Its seed decides what share each copy of a channel has.
    network
        Of the same shape; a contour network may be wider or see more neighbours, a lesion network
        may see the regions as well.

    Raises
    ------
    ExperimentInvalid
        If the shapes differ in anything else.
    """
    if plan.start:
        take_over(load_network(Path(plan.start)).network, network, plan.seed)


def take_over(before: nn.Module, network: nn.Module, seed: int) -> None:
    """Have a network begin with the weights of another; as `continue_from`."""
    if isinstance(before, ContourPair):
        before = before.whole
    if isinstance(before, ContourUNet) and isinstance(network, ContourUNet):
        widen(before, network, torch.Generator().manual_seed(seed))
        return
    kept = before.state_dict()
    if isinstance(before, LesionResNet34) and isinstance(network, LesionResNet34):
        kept["conv1.weight"] = _with_inputs(kept["conv1.weight"], network.architecture.inputs)
    try:
        network.load_state_dict(kept)
    except RuntimeError as misfit:
        raise ExperimentInvalid(
            f"{network.architecture} cannot go on from {before.architecture}: only the regions "
            "may be seen as well"
        ) from misfit


def _with_inputs(weight: Tensor, count: int) -> Tensor:
    """A convolution's weight for more inputs, to which it does not listen yet."""
    wider = weight.new_zeros(len(weight), max(count, weight.shape[1]), *weight.shape[2:])
    wider[:, : weight.shape[1]] = weight
    return wider


def widen(before: ContourUNet, network: ContourUNet, generator: torch.Generator) -> None:
    """Have a wider network give the maps of a narrower one.

    Parameters
    ----------
    network
        Its weights are overwritten.
    """
    old, new = before.architecture, network.architecture
    if not _reaches(old, new):
        raise ExperimentInvalid(
            f"{new} cannot go on from {old}: only width and neighbours may grow"
        )
    copying = _Copying(generator)
    levels = range(old.levels)
    origins = [torch.arange(new.width << level) % (old.width << level) for level in levels]
    inputs = [torch.arange(old.fold**2 * len(old.slice_offsets)), *origins[:-1]]
    with torch.no_grad():
        for narrow, wide, seen, here in zip(
            before.down, network.down, inputs, origins, strict=True
        ):
            copying.block(narrow, wide, seen, here)
        for level, (here, below) in enumerate(pairwise(origins)):
            copying.raising(before.up[level], network.up[level], below, here)
            both = torch.cat([here, here + (old.width << level)])
            copying.block(before.merge[level], network.merge[level], both, here)
        copying.layer(before.head, network.head, origins[0], torch.arange(len(before.head.weight)))


def _reaches(old: ContourArchitecture, new: ContourArchitecture) -> bool:
    grown = replace(old, width=new.width, neighbours=new.neighbours)
    return grown == new and old.width <= new.width and old.neighbours <= new.neighbours


@dataclass(frozen=True)
class _Copying:
    """Copies layers; `seen` and `here` say from which channel each input and output comes."""

    generator: torch.Generator

    def block(self, narrow: nn.Module, wide: nn.Module, seen: Tensor, here: Tensor) -> None:
        """Two convolutions with their normalisations."""
        for old, new in zip(narrow.children(), wide.children(), strict=True):
            self.layer(old, new, seen, here)
            seen = here if isinstance(old, nn.Conv2d) else seen

    def layer(self, narrow: nn.Module, wide: nn.Module, seen: Tensor, here: Tensor) -> None:
        """One convolution or normalisation; what the narrow one did not see gets no weight."""
        for name, old in narrow.state_dict().items():
            new = wide.state_dict()[name]
            if old.dim() > 1:
                new.zero_()
                new[:, : len(seen)] = self._shared(old, seen, here)
            else:
                new.copy_(old[here] if old.dim() else old)

    def raising(self, narrow: nn.Module, wide: nn.Module, seen: Tensor, here: Tensor) -> None:
        """A transposed convolution, whose weight names the inputs first."""
        old, new = narrow.state_dict(), wide.state_dict()
        new["weight"].copy_(self._shared(old["weight"].transpose(0, 1), seen, here).transpose(0, 1))
        new["bias"].copy_(old["bias"][here])

    def _shared(self, weight: Tensor, seen: Tensor, here: Tensor) -> Tensor:
        """A weight ``(outputs, inputs, …)`` for copies; shares of one input add to 1."""
        wide = weight[here][:, seen]
        parts = 0.5 + torch.rand(wide.shape, generator=self.generator)
        whole = torch.zeros_like(weight[here]).index_add_(1, seen, parts)
        return wide * parts / whole[:, seen]
