"""Networks exported to ONNX answer as torch does, whatever the number of slices."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from models.joint_unet import JointArchitecture, JointArchitectures, JointNetwork
from models.lesion_resnet34 import LesionArchitecture, Pooling
from models.weights import build, read_card
from tests.support.untrained_networks import SMALL_CONTOUR, experiment, save_untrained
from trainer.__main__ import app
from trainer.errors import TrainingInputInvalid
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.export_onnx import (
    ExportDiffers,
    OnnxPart,
    largest_difference,
    onnx_parts,
    write_onnx,
)

LESION = LesionArchitecture(
    width=2, kernel_depth=1, pooling=Pooling.ZONES, sees_zones=True, last_stride=1,
    strongest_cells=True, sees_surroundings=True, inner_slices=True,
)  # fmt: skip


def test_the_lesion_network_is_exported_with_free_numbers_of_slices(tmp_path):
    torch.manual_seed(0)
    (part,) = onnx_parts(build(LESION), {"roi": {"size_px": 32}})

    write_onnx(part, tmp_path / "lesion.onnx")

    assert largest_difference(part, tmp_path / "lesion.onnx") < 1e-4


def test_the_mean_of_all_delineating_networks_is_exported(tmp_path):
    torch.manual_seed(0)
    small = JointArchitecture(width=2, levels=2)
    network = JointNetwork(JointArchitectures(small, small, members=3)).eval()
    _, part = onnx_parts(network, {})

    write_onnx(part, tmp_path / "delineator.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "delineator.onnx")
    stacks = torch.rand(4, 3, 112, 112)
    maps, logits = session.run(None, {"stacks": stacks.numpy()})
    with torch.inference_mode():
        expected = network.delineate(stacks)
    np.testing.assert_allclose(maps, expected[0], atol=1e-4)
    np.testing.assert_allclose(logits, expected[1], atol=1e-4)


def test_a_network_of_whole_slices_is_exported_with_its_card(tmp_path):
    plan = experiment(SMALL_CONTOUR, tmp_path)
    save_untrained(plan, tmp_path / "contour")

    result = CliRunner().invoke(
        app, ["export-onnx", str(tmp_path / "contour"), "--out", str(tmp_path / "onnx")]
    )

    assert result.exit_code == 0, (result.output, result.exception)
    assert "contour.onnx: within" in result.output
    assert read_card(tmp_path / "onnx") == read_card(tmp_path / "contour")


def test_an_export_that_differs_from_torch_is_refused(tmp_path):
    torch.manual_seed(0)
    part, other = (
        OnnxPart("line", torch.nn.Linear(3, 2), (3,), 0, ("x",), ("y",)) for _ in range(2)
    )
    write_onnx(part, tmp_path / "line.onnx")

    with pytest.raises(ExportDiffers, match=r"line\.onnx differs from torch by"):
        largest_difference(other, tmp_path / "line.onnx")


def test_crops_that_do_not_divide_into_cells_are_refused():
    with pytest.raises(TrainingInputInvalid, match="must be a multiple"):
        onnx_parts(build(LESION), {"roi": {"size_px": 45}})


def test_the_shipped_networks_can_be_exported():
    for network, files in (("contour", ["finder", "delineator"]), ("lesion", ["lesion"])):
        card = read_card(SHIPPED_WEIGHTS / network)
        settings = json.loads(json.dumps(dict(card.settings)))

        assert [part.name for part in onnx_parts(build(card.architecture), settings)] == files
