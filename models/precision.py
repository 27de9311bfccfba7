"""In which floating-point format the networks compute.

Contours and scores in half precision differ from those in float32 by less than they differ
between two networks trained alike (docs/delineation_real.md, "Half precision"); weights are
always checked in float32 first.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

MixedPrecision = bool | Literal["auto"]

_NATIVE = ("avx512_bf16", "amx_bf16")
"""Instruction sets with which bfloat16 convolutions are faster than float32 ones."""


def computes_in_half(mixed: MixedPrecision, device: torch.device) -> bool:
    """Whether a device computes in half precision: "auto" means on CPUs with bfloat16 only."""
    if mixed == "auto":
        return device.type == "cpu" and _cpu_has_bfloat16()
    return mixed


def _cpu_has_bfloat16() -> bool:
    # Older versions of PyTorch do not tell what the CPU can do.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in _NATIVE)


def mixed_precision(device: torch.device, half: bool) -> AbstractContextManager[object]:
    """Context in which convolutions run in the device's half precision, if wanted."""
    if not half:
        return nullcontext()
    return torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16)
