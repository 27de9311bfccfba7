"""The processes that train one network together, each on a device of its own.

Started by ``torchrun --nproc-per-node N -m trainer train …`` every process draws its own batches
and all of them take each step with the mean of their gradients. Started plainly, one process is a
team of its own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

GPU, CPU = "cuda", "cpu"


@dataclass(frozen=True)
class Team:
    """This process and those beside it.

    Parameters
    ----------
    rank
        Number of this process, from 0.
    size
        How many there are.
    device
        What this process computes on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device(CPU))

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @property
    def precision(self) -> torch.dtype:
        """The short floating-point format that the device computes well in."""
        if self.device.type == GPU and not torch.cuda.is_bf16_supported():
            return torch.float16
        return torch.bfloat16

    def mixed_precision(self) -> torch.autocast:
        """Within this, convolutions compute in the short format."""
        return torch.autocast(self.device.type, self.precision)

    def average_gradients(self, network: nn.Module) -> None:
        """Give every process the mean of all processes' gradients."""
        if self.size > 1:
            self._average([p.grad for p in network.parameters() if p.grad is not None])

    def average_statistics(self, network: nn.Module) -> None:
        """Give every process the mean of what their batch norms have seen."""
        if self.size > 1:
            self._average([b for b in network.buffers() if b.is_floating_point()])

    def _average(self, tensors: list[Tensor]) -> None:
        together = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(together)
        together /= self.size
        for tensor, mean in zip(
            tensors, torch.split(together, [t.numel() for t in tensors]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """A CPU tensor of every process, by rank."""
        if self.size == 1:
            return [tensor]
        all_of_them: list[Tensor | None] = [None] * self.size
        dist.all_gather_object(all_of_them, tensor)
        return [one for one in all_of_them if one is not None]

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()


@contextmanager
def joined_team() -> Iterator[Team]:
    """The team that torchrun's environment describes; on GPUs where there are any."""
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    device = torch.device(GPU, local) if torch.cuda.is_available() else torch.device(CPU)
    if device.type == GPU:
        torch.cuda.set_device(device)
    if size == 1:
        yield Team(device=device)
        return
    dist.init_process_group("nccl" if device.type == GPU else "gloo")
    try:
        yield Team(rank, size, device)
    finally:
        dist.destroy_process_group()


def source_of_chance(seed: int, team: Team) -> torch.Generator:
    """The source of this process's randomness: no two processes draw the same."""
    return torch.Generator(team.device).manual_seed(seed + 1_000_003 * team.rank)
