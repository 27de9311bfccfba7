"""In which precision the networks compute."""

import pytest
import torch

from models.joint_unet import JointArchitecture, JointArchitectures, JointNetwork
from models.precision import computes_in_half, mixed_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, GPU])
def test_precision_is_as_configured_on_every_device(device):
    assert computes_in_half(True, device)
    assert not computes_in_half(False, device)


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16"])
def test_auto_is_half_on_a_cpu_with_bfloat16_only(monkeypatch, instructions):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert not computes_in_half("auto", CPU)

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True}, raising=False)
    assert computes_in_half("auto", CPU)
    assert not computes_in_half("auto", GPU)


def test_convolutions_compute_in_bfloat16_only_where_asked():
    convolution, image = torch.nn.Conv2d(1, 1, 3), torch.ones(1, 1, 8, 8)

    for half, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with mixed_precision(CPU, half):
            assert convolution(image).dtype is dtype


def test_a_joint_network_gives_float32_answers_in_either_precision():
    shape = JointArchitecture(width=8, levels=2)
    network = JointNetwork(JointArchitectures(shape, shape, members=2)).eval()
    stacks = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        full = (network.find(stacks), *network.delineate(stacks))
        network.half_precision = True
        half = (network.find(stacks), *network.delineate(stacks))

    for one, other in zip(full, half, strict=True):
        assert other.dtype is torch.float32
        assert not torch.equal(one, other)
        assert torch.allclose(one, other, atol=0.05 * float(one.abs().max()))
