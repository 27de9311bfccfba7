"""Exports networks to ONNX for other programs: ``python -m trainer export-onnx``.

What is exported is compared with torch on other numbers of slices than it was traced with, and
only kept if both agree. Cropping, tracing of contours and calibration are not part of it; the card
beside it says how its inputs are made.

Source: ONNX operator set 18 and later; torch.onnx.
"""

import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from models.contour_unet import ContourUNet
from models.joint_delineation import FIELD_PX
from models.joint_unet import SQUARE_PX, JointNetwork
from models.lesion_resnet34 import LesionResNet34
from models.preprocess import NETWORK_PX
from models.regions import REGIONS_PER_JOINT
from models.weights import CARD_NAME, Network, load_network
from trainer.errors import TrainingInputInvalid

TRACED, CHECKED = 3, 5
"""Images, or slices, that the export is traced with, and that it is checked with."""
AGREEMENT = 1e-3
"""Largest difference from torch, relative to the largest answer."""


class ExportDiffers(TrainingInputInvalid):
    """An exported network does not give torch's answers."""


@dataclass(frozen=True, eq=False)
class OnnxPart:
    """One ONNX file: a network with any number of images, or of slices.

    Parameters
    ----------
    name
        Of the file without its suffix.
    shape
        Of each input without the free axis.
    axis
        The free axis.
    inputs, outputs
        Names; an input whose name ends in ``zones`` takes region numbers, uint8.
    translations
        Operators that torch.onnx does not know.
    """

    name: str
    network: nn.Module
    shape: tuple[int, ...]
    axis: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    translations: Mapping[Any, Any] | None = None

    def example(self, count: int) -> dict[str, Tensor]:
        """Random inputs with `count` images or slices; STIR has one slice more than T1."""
        generator = torch.Generator().manual_seed(count)
        made = {}
        for name in self.inputs:
            free = count + name.startswith("stir")
            shape = (*self.shape[: self.axis], free, *self.shape[self.axis :])
            if name.endswith("zones"):
                regions = len(REGIONS_PER_JOINT) + 1
                made[name] = torch.randint(regions, shape, generator=generator).to(torch.uint8)
            else:
                made[name] = torch.rand(shape, generator=generator)
        return made

    def answers(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """What torch answers."""
        with torch.inference_mode():
            said = self.network(*inputs.values())
        return [one.numpy() for one in (said if isinstance(said, tuple) else (said,))]


class LesionProbabilities(nn.Module):
    """The lesion network from the crops of a joint to uncalibrated probabilities."""

    def __init__(self, network: LesionResNet34) -> None:
        super().__init__()
        self.network = network

    def forward(self, t1: Tensor, t1_zones: Tensor, stir: Tensor, stir_zones: Tensor) -> Tensor:
        """Probabilities ``(1, 14)`` from intensities and zones ``(1, slices, size, size)``."""
        logits: Tensor = self.network(
            self._described(t1, t1_zones), self._described(stir, stir_zones)
        )
        return logits.sigmoid()

    def _described(self, squares: Tensor, zones: Tensor) -> Tensor:
        """As `LesionResNet34.encode`, without its question whether slices are missing."""
        present = torch.ones(squares.shape[:2], dtype=torch.bool)
        inputs = self.network._inputs(squares, zones, present)
        features = self.network._features_of(inputs, None)
        return self.network.pooled(features, zones, present)


class JointMaps(nn.Module):
    """The mean answer of the delineating networks, as `JointNetwork.delineate` gives it."""

    def __init__(self, delineators: nn.ModuleList) -> None:
        super().__init__()
        self.delineators = delineators

    def forward(self, stacks: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(n, 5, size, size)`` and logits of presence ``(n,)``."""
        answers = [delineator(stacks) for delineator in self.delineators]
        maps, logits = (torch.stack(one).mean(dim=0) for one in zip(*answers, strict=True))
        return maps, logits


def export_onnx(
    weights: Annotated[Path, typer.Argument(help="Folder of one network: card and weights.")],
    out: Annotated[Path, typer.Option(help="Folder for the ONNX files and the card.")],
) -> None:
    """Export a network to ONNX, compare it with torch, and copy its card beside it."""
    out.mkdir(parents=True, exist_ok=True)
    loaded = load_network(weights)
    for part in onnx_parts(loaded.network, loaded.card.settings):
        path = out / f"{part.name}.onnx"
        write_onnx(part, path)
        try:
            furthest = largest_difference(part, path)
        except ExportDiffers:
            path.unlink()
            raise
        typer.echo(f"{path}: within {furthest:.1e} of torch")
    shutil.copyfile(weights / CARD_NAME, out / CARD_NAME)


def onnx_parts(network: Network, settings: Mapping[str, Any]) -> list[OnnxPart]:
    """The files that a network is exported to.

    Parameters
    ----------
    settings
        Of its card.
    """
    if isinstance(network, JointNetwork):
        return [
            _finder_part(network.finder),
            OnnxPart(
                "delineator",
                JointMaps(network.delineators),
                (3, SQUARE_PX, SQUARE_PX),
                0,
                ("stacks",),
                ("maps", "presence_logits"),
            ),
        ]
    if isinstance(network, ContourUNet):
        seen = len(network.architecture.slice_offsets)
        shape = (seen, NETWORK_PX, NETWORK_PX)
        return [OnnxPart("contour", network, shape, 0, ("slices",), ("maps",))]
    return [_lesion_part(network, int(settings["roi"]["size_px"]))]


def _finder_part(finder: nn.Module) -> OnnxPart:
    return OnnxPart(
        "finder", finder, (3, FIELD_PX, FIELD_PX), 0, ("stacks",), ("maps", "presence_logits")
    )


def _lesion_part(network: LesionResNet34, size_px: int) -> OnnxPart:
    cell_px = 8 * network.architecture.last_stride
    if size_px % cell_px:
        raise TrainingInputInvalid(
            f"crops of {size_px} pixels cannot be exported: the zones are averaged over cells of "
            f"{cell_px} pixels, of which size_px must be a multiple"
        )
    return OnnxPart(
        "lesion",
        LesionProbabilities(network),
        (1, size_px, size_px),
        1,
        ("t1", "t1_zones", "stir", "stir_zones"),
        ("probabilities",),
        {torch.ops.aten._adaptive_avg_pool3d.default: _averaged_cells(cell_px)},
    )


def _averaged_cells(cell_px: int) -> Callable[[Any, Any], Any]:
    """Average pooling over whole cells, which is what adaptive pooling amounts to here."""
    from onnxscript import opset18 as op  # noqa: PLC0415  an extra

    def averaged(masks: Any, output_size: Any) -> Any:
        del output_size
        cell = [1, cell_px, cell_px]
        return op.AveragePool(masks, kernel_shape=cell, strides=cell)

    return averaged


def write_onnx(part: OnnxPart, path: Path) -> None:
    """Write one ONNX file with its weights inside."""
    import onnxscript  # noqa: F401, PLC0415  an extra that torch.onnx needs

    free = {
        name: {part.axis: Dim("stir_slices" if name.startswith("stir") else "count", min=1)}
        for name in part.inputs
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part.network.eval(),
            tuple(part.example(TRACED).values()),
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=tuple(free.values()),
            custom_translation_table=dict(part.translations or {}),
        )


def largest_difference(part: OnnxPart, path: Path) -> float:
    """How far the answers of an ONNX file lie from torch's, relative to the largest of them.

    Raises
    ------
    ExportDiffers
        If further than AGREEMENT.
    """
    import onnxruntime  # noqa: PLC0415  an extra

    inputs = part.example(CHECKED)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    furthest = max(
        float(np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max()))
        for ours, theirs in zip(part.answers(inputs), said, strict=True)
    )
    if not furthest <= AGREEMENT:
        raise ExportDiffers(
            f"{path.name} differs from torch by {furthest:.1e}; it was not kept. Update torch, "
            "onnxscript and onnxruntime to releases of the same time."
        )
    return furthest
