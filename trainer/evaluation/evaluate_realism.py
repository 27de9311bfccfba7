"""How well a classifier tells simulated joints from real ones: ``evaluate realism FOLDER``.

A yardstick for the generators, nothing else: the classifier is thrown away, and nothing that it
learns enters any weights. It sees squares of 101 mm around a joint, standardised, right joints
mirrored, and is cross-validated by patient. With an AUC of 0.5 it cannot tell them apart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from models.delineate import loaded_contour_network
from models.delineation import Contour, Delineation
from models.findings import Side
from models.joint_delineation import resampled
from models.joint_unet import SQUARE_MM, SQUARE_PX, standardised
from models.volume import Volume
from trainer.evaluation.evaluate_phantoms import scans_of
from trainer.evaluation.evaluate_real import delineated
from trainer.evaluation.real_scans import RealScan, read_studies
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.markdown_table import markdown
from trainer.metrics.classification import auc
from trainer.phantom.appearance import images_of
from trainer.phantom.case import PhantomOptions, make_case
from trainer.phantom.label_slabs import close_slab
from trainer.phantom.second_phantom import make_second_case

SLICES = 4
"""From the middle half of each joint."""
FOLDS, EPOCHS, BATCH = 4, 12, 32
FIRST = 700_000

Squares = list[Tensor]
"""Of each patient, ``(n, size, size)``."""


def evaluate_realism(
    folder: Annotated[Path, typer.Argument(help="Real scans.")],
    weights: Annotated[Path, typer.Option(help="Finds the joints on real scans.")] = SHIPPED_WEIGHTS
    / "contour",
    patients: Annotated[int, typer.Option(help="Simulated patients of each generator.")] = 21,
) -> None:
    """Measure how well a small classifier tells each generator's joints from real ones."""
    network, rules = loaded_contour_network(weights)
    real = []
    for scans in read_studies(folder):
        pairs = zip(scans, delineated(network, rules, scans), strict=True)
        real.append(torch.cat([squares(scan.volume, found) for scan, found in pairs]))
    scores = {
        name: realism_auc(real, [drawn(FIRST + number) for number in range(patients)])
        for name, drawn in GENERATORS.items()
    }
    print(f"{len(real)} real patients, {patients} simulated ones")
    print(markdown(["generator", "AUC"], ([name, round(one, 3)] for name, one in scores.items())))


def squares(volume: Volume, delineation: Delineation) -> Tensor:
    """Some slices of both joints, ``(n, size, size)``, right ones mirrored.

    Parameters
    ----------
    volume, delineation
        A canonical volume and its contours; none gives no squares.
    """
    cut = []
    for side in Side:
        contours = delineation.of(side)
        middle = contours[len(contours) // 4 :][: max(1, len(contours) // 2)]
        chosen = [one.slice_index for one in middle[:: max(1, len(middle) // SLICES)]][:SLICES]
        if chosen:
            centre = np.concatenate([one.points for one in contours]).mean(axis=0)
            shown = resampled(volume, centre, SQUARE_MM, SQUARE_PX, side is Side.RIGHT)
            cut.append(shown[chosen])
    return torch.cat(cut) if cut else torch.zeros(0, SQUARE_PX, SQUARE_PX)


def _of_scans(scans: Sequence[RealScan]) -> Tensor:
    return torch.cat([squares(scan.volume, _truth(scan)) for scan in scans])


def _truth(scan: RealScan) -> Delineation:
    return Delineation(
        tuple(Contour(n, side, line, 1.0) for (n, side), line in (scan.lines or {}).items())
    )


def _own(seed: int) -> Tensor:
    case = make_case(seed, PhantomOptions(disease="balanced", style="any"))
    return _of_scans(scans_of(seed, (case.t1, case.stir), (case.t1_truth, case.stir_truth)))


def _second(seed: int) -> Tensor:
    case = make_second_case(seed)
    return _of_scans(scans_of(seed, (case.t1, case.stir), (case.t1_truth, case.stir_truth)))


def _slabs(seed: int) -> Tensor:
    """Two joints of the label generator, each in two appearances."""
    generator = torch.Generator().manual_seed(seed)
    shown = []
    for number in range(2):
        labels = torch.from_numpy(close_slab(2 * seed + number).labels)
        shown += [images_of(labels[None, 1:-1], generator)[0] for _ in range(2)]
    images = torch.cat(shown)
    edge = (images.shape[-1] - SQUARE_PX) // 2
    return images[:, edge : edge + SQUARE_PX, edge : edge + SQUARE_PX]


GENERATORS: Mapping[str, Callable[[int], Tensor]] = {
    "label slabs (today's)": _slabs,
    "first phantom (of contour 0.6.0)": _own,
    "second phantom": _second,
}


def realism_auc(real: Squares, simulated: Squares, seed: int = 0) -> float:
    """AUC of a classifier on patients whom it was not trained on.

    Parameters
    ----------
    real, simulated
        Squares of each patient; patients without squares are left out.
    """
    patients = [(one, 1.0) for one in real if len(one)] + [
        (one, 0.0) for one in simulated if len(one)
    ]
    fold = np.random.default_rng(seed).permutation(len(patients)) % FOLDS
    truth: list[NDArray[np.bool_]] = []
    scores: list[NDArray[np.float32]] = []
    for number in range(FOLDS):
        train = [patient for patient, one in zip(patients, fold, strict=True) if one != number]
        test = [patient for patient, one in zip(patients, fold, strict=True) if one == number]
        network = _trained(*_together(train), seed)
        images, labels = _together(test)
        with torch.inference_mode():
            scores.append(network(images).squeeze(1).numpy())
        truth.append(labels.numpy() > 0.5)
    return auc(np.concatenate(truth), np.concatenate(scores))


def _together(patients: Sequence[tuple[Tensor, float]]) -> tuple[Tensor, Tensor]:
    images = torch.cat([one for one, _ in patients])[:, None].float()
    labels = torch.cat([torch.full((len(one),), label) for one, label in patients])
    return standardised(images), labels


def _trained(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential(*_layers(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1))
    optimiser = torch.optim.Adam(network.parameters(), 2e-3, weight_decay=1e-4)
    weight = (labels == 0).sum() / labels.sum().clamp(min=1)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=weight)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            optimiser.zero_grad()
            loss_of(network(images[batch]).squeeze(1), labels[batch]).backward()
            optimiser.step()
    return network.eval()


def _layers() -> Iterator[nn.Module]:
    for before, after in ((1, 8), (8, 16), (16, 32)):
        yield nn.Conv2d(before, after, 3, stride=2, padding=1)
        yield nn.BatchNorm2d(after)
        yield nn.ReLU()
