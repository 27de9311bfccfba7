"""Data-parallel training of one network: one process per device.

Started by ``torchrun --nproc-per-node N -m trainer train …`` every process draws its own batches,
and gradients are averaged at every step. Without torchrun a single process trains alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.errors import TrainingInputInvalid

GPU, CPU, AUTO = "cuda", "cpu", "auto"


class DeviceUnavailable(TrainingInputInvalid):
    """This machine has no such device."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process and those beside it.

    Parameters
    ----------
    rank
        Of this process, from 0.
    size
        Number of processes.
    device
        The device of this process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device(CPU))

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes files."""
        return self.rank == 0

    @property
    def precision(self) -> torch.dtype:
        """The 16-bit floating-point format that the device supports best."""
        if self.device.type == GPU and not torch.cuda.is_bf16_supported():
            return torch.float16
        return torch.bfloat16

    def mixed_precision(self) -> torch.autocast:
        """Autocast to the 16-bit format."""
        return torch.autocast(self.device.type, self.precision)

    def average_gradients(self, network: nn.Module) -> None:
        """Average the gradients over all processes."""
        if self.size > 1:
            self._average([p.grad for p in network.parameters() if p.grad is not None])

    def average_statistics(self, network: nn.Module) -> None:
        """Average the batch norm statistics over all processes."""
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
        """A CPU tensor from every process, in order of rank."""
        if self.size == 1:
            return [tensor]
        collected: list[Tensor | None] = [None] * self.size
        dist.all_gather_object(collected, tensor)
        return [one for one in collected if one is not None]

    def from_main(self, value: float) -> float:
        """The main process's value, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def barrier(self) -> None:
        """Wait until every process has reached this point."""
        if self.size > 1:
            dist.barrier()


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def process_group(wanted: str = AUTO) -> Iterator[ProcessGroup]:
    """The process group described by torchrun's environment.

    Parameters
    ----------
    wanted
        ``auto`` (GPUs if available), ``cpu``, ``cuda``, or ``cuda:N`` for one process.

    Raises
    ------
    DeviceUnavailable
        If there is no such device.
    """
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    device = _device(wanted, local)
    if device.type == GPU:
        torch.cuda.set_device(device)
    if size == 1:
        yield ProcessGroup(device=device)
        return
    dist.init_process_group("nccl" if device.type == GPU else "gloo")
    try:
        yield ProcessGroup(rank, size, device)
    finally:
        dist.destroy_process_group()


def use_threads(count: int) -> None:
    """Compute with this many CPU threads; 0 for one per core."""
    if count:
        torch.set_num_threads(count)


def _device(wanted: str, local: int) -> torch.device:
    count = torch.cuda.device_count()
    if wanted == AUTO:
        wanted = GPU if count else CPU
    known = [CPU, GPU, *(f"{GPU}:{number}" for number in range(count))] if count else [CPU]
    if wanted not in known:
        raise DeviceUnavailable(
            f"device {wanted} is not available; available: {AUTO}, {', '.join(known)}"
        )
    return torch.device(GPU, local) if wanted == GPU else torch.device(wanted)


def seeded_generator(seed: int, group: ProcessGroup) -> torch.Generator:
    """A random generator seeded differently in every process."""
    return torch.Generator(group.device).manual_seed(seed + 1_000_003 * group.rank)
