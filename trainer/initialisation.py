"""Initial weights: a zero output layer, or the weights of a network trained earlier.

The new network may be wider. It starts out giving the same output as the narrower one: channels
are duplicated, and each copy's outgoing weights get an unequal random share, so that the copies
can learn different things. Inputs the earlier network did not have, such as neighbouring slices
or a joint's regions, start with zero weight.

Source: Chen et al., "Net2Net" (ICLR 2016), the wider network.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.contour_unet import ContourArchitecture, ContourUNet
from models.lesion_resnet34 import LesionResNet34
from models.weights import load_network
from trainer.experiment import Experiment, ExperimentInvalid


def zero_output_layer(network: ContourUNet) -> None:
    """Zero the output layer, so that a new network predicts empty maps.

    Random initial maps are so far off that correcting them dominates the first thousand steps,
    before the network finds the small peaks at the ends.
    """
    for part in network.head.parameters():
        nn.init.zeros_(part)


def load_initial_weights(plan: Experiment, network: nn.Module) -> None:
    """Load the initial weights that an experiment names, if any.

    Parameters
    ----------
    plan
        Its seed determines the share of each duplicated channel.
    network
        Of the same shape; a contour network may be wider or take more neighbouring slices, a
        lesion network may also take the regions as input.

    Raises
    ------
    ExperimentInvalid
        If the shapes differ in any other way.
    """
    if plan.initial_weights_folder:
        copy_weights(load_network(plan.initial_weights_folder).network, network, plan.seed)


def copy_weights(before: nn.Module, network: nn.Module, seed: int) -> None:
    """Copy the weights of one network into another; see `load_initial_weights`."""
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
            f"{network.architecture} cannot start from {before.architecture}: only the regions "
            "may be added as input"
        ) from misfit


def _with_inputs(weight: Tensor, count: int) -> Tensor:
    """A convolution's weight padded with zeros for additional inputs."""
    wider = weight.new_zeros(len(weight), max(count, weight.shape[1]), *weight.shape[2:])
    wider[:, : weight.shape[1]] = weight
    return wider


def widen(before: ContourUNet, network: ContourUNet, generator: torch.Generator) -> None:
    """Initialise a wider network so that it gives the same maps as a narrower one.

    Parameters
    ----------
    network
        Its weights are overwritten.
    """
    old, new = before.architecture, network.architecture
    if not _reaches(old, new):
        raise ExperimentInvalid(
            f"{new} cannot start from {old}: only width and neighbours may grow"
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
    """Copies layers; `seen` and `here` map each input and output to its original channel."""

    generator: torch.Generator

    def block(self, narrow: nn.Module, wide: nn.Module, seen: Tensor, here: Tensor) -> None:
        """Copy two convolutions with their normalisations."""
        for old, new in zip(narrow.children(), wide.children(), strict=True):
            self.layer(old, new, seen, here)
            seen = here if isinstance(old, nn.Conv2d) else seen

    def layer(self, narrow: nn.Module, wide: nn.Module, seen: Tensor, here: Tensor) -> None:
        """Copy one convolution or normalisation; new inputs get zero weight."""
        for name, old in narrow.state_dict().items():
            new = wide.state_dict()[name]
            if old.dim() > 1:
                new.zero_()
                new[:, : len(seen)] = self._shared(old, seen, here)
            else:
                new.copy_(old[here] if old.dim() else old)

    def raising(self, narrow: nn.Module, wide: nn.Module, seen: Tensor, here: Tensor) -> None:
        """Copy a transposed convolution, whose weight has the inputs first."""
        old, new = narrow.state_dict(), wide.state_dict()
        new["weight"].copy_(self._shared(old["weight"].transpose(0, 1), seen, here).transpose(0, 1))
        new["bias"].copy_(old["bias"][here])

    def _shared(self, weight: Tensor, seen: Tensor, here: Tensor) -> Tensor:
        """A weight ``(outputs, inputs, …)`` for the copies; the shares of one input sum to 1."""
        wide = weight[here][:, seen]
        parts = 0.5 + torch.rand(wide.shape, generator=self.generator)
        whole = torch.zeros_like(weight[here]).index_add_(1, seen, parts)
        return wide * parts / whole[:, seen]
