"""Gives labels the looks of an image: brightness, texture, coil, blur and noise, all drawn anew.

Half of the images have the contrast of T1 or STIR, the others brightness at random; in both,
each tissue is split into two clusters that lie in patches, as real tissue is not even.

Source: SynthSeg (Billot et al., Med Image Anal 2023); several clusters a tissue after
arXiv 2411.06842.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as nnf
from torch import Tensor

from trainer.augmentation import Degradation, degraded
from trainer.phantom.tissue_labels import TissueLabel

T1_LEVELS: Mapping[TissueLabel, tuple[float, float]] = {
    TissueLabel.AIR: (0.0, 0.03),
    TissueLabel.SKIN_FAT: (0.8, 1.2),
    TissueLabel.MUSCLE: (0.2, 0.4),
    TissueLabel.STREAK: (0.5, 0.95),
    TissueLabel.FAT: (0.65, 1.0),
    TissueLabel.ORGAN: (0.2, 0.7),
    TissueLabel.FLUID: (0.1, 0.35),
    TissueLabel.GAS: (0.0, 0.1),
    TissueLabel.VESSEL: (0.03, 0.5),
    TissueLabel.PSOAS: (0.2, 0.4),
    TissueLabel.SACRUM: (0.35, 0.9),
    TissueLabel.ILIUM: (0.35, 0.9),
    TissueLabel.CORTEX: (0.02, 0.15),
    TissueLabel.CARTILAGE: (0.12, 0.45),
    TissueLabel.LIGAMENT: (0.08, 0.35),
    TissueLabel.LIGAMENT_FAT: (0.5, 0.95),
    TissueLabel.DISC: (0.12, 0.4),
    TissueLabel.CANAL: (0.1, 0.3),
    TissueLabel.NERVE: (0.2, 0.45),
    TissueLabel.FORAMEN_FAT: (0.6, 1.0),
    TissueLabel.SCLEROSIS: (0.06, 0.35),
    TissueLabel.OEDEMA: (0.2, 0.5),
    TissueLabel.FATTY_LESION: (0.65, 1.05),
    TissueLabel.EROSION: (0.15, 0.5),
    TissueLabel.VERTEBRA: (0.35, 0.8),
    TissueLabel.MARROW_ISLAND: (0.3, 0.95),
    TissueLabel.BACKFILL: (0.6, 1.0),
}
STIR_LEVELS: Mapping[TissueLabel, tuple[float, float]] = {
    TissueLabel.AIR: (0.0, 0.03),
    TissueLabel.SKIN_FAT: (0.05, 0.4),
    TissueLabel.MUSCLE: (0.18, 0.45),
    TissueLabel.STREAK: (0.05, 0.4),
    TissueLabel.FAT: (0.03, 0.3),
    TissueLabel.ORGAN: (0.1, 0.8),
    TissueLabel.FLUID: (0.7, 1.5),
    TissueLabel.GAS: (0.0, 0.1),
    TissueLabel.VESSEL: (0.1, 1.3),
    TissueLabel.PSOAS: (0.18, 0.45),
    TissueLabel.SACRUM: (0.12, 0.4),
    TissueLabel.ILIUM: (0.12, 0.4),
    TissueLabel.CORTEX: (0.01, 0.1),
    TissueLabel.CARTILAGE: (0.05, 0.6),
    TissueLabel.LIGAMENT: (0.03, 0.25),
    TissueLabel.LIGAMENT_FAT: (0.04, 0.35),
    TissueLabel.DISC: (0.05, 0.6),
    TissueLabel.CANAL: (0.9, 1.6),
    TissueLabel.NERVE: (0.3, 0.9),
    TissueLabel.FORAMEN_FAT: (0.05, 0.5),
    TissueLabel.SCLEROSIS: (0.04, 0.2),
    TissueLabel.OEDEMA: (0.4, 1.2),
    TissueLabel.FATTY_LESION: (0.05, 0.2),
    TissueLabel.EROSION: (0.3, 1.2),
    TissueLabel.VERTEBRA: (0.1, 0.4),
    TissueLabel.MARROW_ISLAND: (0.1, 0.55),
    TissueLabel.BACKFILL: (0.05, 0.25),
}
_TABLES = torch.tensor(
    [[levels[tissue] for tissue in TissueLabel] for levels in (T1_LEVELS, STIR_LEVELS)]
)
_BONES = (TissueLabel.ILIUM, TissueLabel.SACRUM, TissueLabel.VERTEBRA)
LESION_RATIOS: Mapping[TissueLabel, tuple[tuple[float, float], tuple[float, float]]] = {
    TissueLabel.OEDEMA: ((0.5, 0.95), (1.6, 5.0)),
    TissueLabel.FATTY_LESION: ((1.2, 1.9), (0.3, 0.8)),
    TissueLabel.SCLEROSIS: ((0.15, 0.6), (0.2, 0.7)),
    TissueLabel.EROSION: ((0.2, 0.7), (0.6, 2.0)),
    TissueLabel.BACKFILL: ((1.2, 1.9), (0.3, 0.8)),
    TissueLabel.MARROW_ISLAND: ((0.8, 1.2), (0.8, 1.3)),
}
"""Brightness of lesions, and of harmless islands, relative to marrow: on T1 and on STIR."""
CLUSTERS, LESION_CLUSTERS = 0.33, 0.2
"""How far apart the two clusters of a tissue may lie, as spread of a logarithm."""
STIR_SHARE, RANDOM_SHARE, REWORKED_SHARE = 0.4, 0.2, 0.4
LOOKS = Degradation(
    gain=0.0, curve=0.3, reversal=0.05, bias=0.4, blur=0.35, coarse=0.25, noise=0.08, border=0.12
)


def levels(count: int, generator: torch.Generator) -> Tensor:
    """Brightness of both clusters of every tissue in some images, ``(count, 2, tissues)``."""
    kind = (torch.rand(count, generator=generator) < STIR_SHARE).long()
    low, high = _TABLES[kind].unbind(-1)
    likely = low + (high - low) * torch.rand(low.shape, generator=generator)
    chance = torch.rand(count, 1, generator=generator) < RANDOM_SHARE
    first = torch.where(chance, _random_levels(low.shape, generator), likely)
    return _two_clusters(_alike(first, generator), CLUSTERS, generator)


def _two_clusters(first: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    """Each tissue's brightness and another near it, ``(n, 2, tissues)``."""
    apart = spread * torch.randn(first.shape, generator=generator)
    apart = apart * torch.rand(len(first), 1, generator=generator)
    return torch.stack([first, (first * apart.exp()).clamp(min=0)], dim=1)


def _random_levels(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Brightness at random, but the joint's dark or bright line is seen against its bones."""
    drawn = torch.rand(shape, generator=generator)
    drawn[:, TissueLabel.AIR] = 0.03 * drawn[:, TissueLabel.AIR]
    marrow = drawn[:, TissueLabel.SACRUM]
    for line in (TissueLabel.CORTEX, TissueLabel.CARTILAGE):
        near = (drawn[:, line] - marrow).abs() < 0.2
        drawn[:, line] = torch.where(near, (marrow + 0.45) % 1, drawn[:, line])
    return drawn


def _alike(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Marrow of all bones resembles each other, as do psoas and the other muscles."""
    alike = levels.clone()
    for one, other in (
        (TissueLabel.SACRUM, _BONES),
        (TissueLabel.MUSCLE, (TissueLabel.PSOAS, TissueLabel.MUSCLE)),
    ):
        for tissue in other:
            jitter = torch.exp(0.1 * torch.randn(len(levels), generator=generator))
            alike[:, tissue] = levels[:, one] * jitter
    return alike


def images_of(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Images of label slices, each triple with its own looks.

    Parameters
    ----------
    labels
        Values of `TissueLabel`, ``(n, slices, subslices, size, size)``.

    Returns
    -------
    Tensor
        float32, ``(n, slices, size, size)``, not negative.
    """
    seen = _rendered(labels, levels(len(labels), generator), generator)
    return degraded(_reworked(seen, generator), LOOKS, generator)


def lesion_pairs(labels: Tensor, generator: torch.Generator) -> Tensor:
    """T1 and STIR of label slices, with lesions as they look beside the marrow around them.

    Parameters
    ----------
    labels
        As for `images_of`.

    Returns
    -------
    Tensor
        float32, ``(2 n, slices, size, size)``, T1 first, not negative; not degraded.
    """
    count = len(labels)
    kind = torch.arange(2).repeat_interleave(count)
    low, high = _TABLES[kind].unbind(-1)
    first = _alike(low + (high - low) * torch.rand(low.shape, generator=generator), generator)
    for tissue, ratios in LESION_RATIOS.items():
        low, high = torch.tensor(ratios).log()[kind].unbind(-1)
        drawn = low + (high - low) * torch.rand(len(kind), generator=generator)
        first[:, tissue] = first[:, TissueLabel.SACRUM] * drawn.exp()
    shown = _two_clusters(first, LESION_CLUSTERS, generator)
    return _rendered(labels.repeat(2, 1, 1, 1, 1), shown, generator)


def _rendered(labels: Tensor, shown: Tensor, generator: torch.Generator) -> Tensor:
    """Images of label slices whose tissues have brightnesses ``(n, 2, tissues)``."""
    count, slices, _, size, _ = labels.shape
    flat = labels.reshape(count, -1).long()
    first, second = (shown[:, n].gather(1, flat).view(labels.shape) for n in range(2))
    patch = torch.sigmoid(3 * _patches(count, slices, size, generator))[:, :, None]
    clean = (first + (second - first) * patch).mean(dim=2)
    grain = _grain(count, slices, size, generator)
    lit = clean * (1 + grain) * _coil(count, size, generator)[:, None]
    brightest = lit.flatten(1)[:, ::7].quantile(0.98, dim=1).clamp(min=0.05)
    return _point_spread((lit / brightest[:, None, None, None]).clamp(0, 2), generator)


def _point_spread(images: Tensor, generator: torch.Generator) -> Tensor:
    """No edge is as sharp as between labels: each image is blurred by .4 to 1 pixel."""
    spread = 0.4 + 0.6 * torch.rand(len(images), 1, generator=generator)
    kernel = torch.exp(-(torch.arange(-2, 3)[None] ** 2) / (2 * spread**2))
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    side_by_side = images.transpose(0, 1)
    count = len(images)
    for shape, padding in (((count, 1, 5, 1), (2, 0)), ((count, 1, 1, 5), (0, 2))):
        side_by_side = nnf.conv2d(side_by_side, kernel.view(shape), padding=padding, groups=count)
    return side_by_side.transpose(0, 1)


def _reworked(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images through a small random network, mixed with what they were.

    Source: global intensity non-linear augmentation, Ouyang et al., IEEE TMI 2023.
    """
    chosen = torch.rand(len(images), generator=generator) < REWORKED_SHARE
    count = int(chosen.sum())
    if not count:
        return images
    there = images[chosen].transpose(0, 1)
    through = there
    for inputs, outputs, size in ((1, 2, 3), (2, 2, 1), (2, 2, 1), (2, 1, 3)):
        weights = torch.randn(count * outputs, inputs, size, size, generator=generator)
        shift = torch.randn(count * outputs, generator=generator)
        through = nnf.conv2d(through, weights, shift, padding=size // 2, groups=count)
        if outputs > 1:
            through = nnf.leaky_relu(through, 0.2)
    low, high = (through.amin((0, 2, 3)), through.amax((0, 2, 3)))
    through = (through - low[:, None, None]) / (high - low).clamp(min=1e-3)[:, None, None]
    share = torch.rand(count, 1, 1, generator=generator)
    mixed = images.clone()
    mixed[chosen] = (share * through * 1.2 + (1 - share) * there).transpose(0, 1)
    return mixed


def _patches(count: int, slices: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth noise of three grains, mostly the same on neighbouring slices."""
    noise = torch.zeros(count, slices, size, size)
    for cells, share in ((size // 14, 0.9), (size // 5, 0.7), (size // 2, 0.5)):
        coarse = torch.randn(count, 1, cells, cells, generator=generator)
        own = torch.randn(count, slices, cells, cells, generator=generator)
        noise += share * nnf.interpolate(
            0.8 * coarse + 0.6 * own, size=(size, size), mode="bilinear", align_corners=False
        )
    return noise


def _grain(count: int, slices: int, size: int, generator: torch.Generator) -> Tensor:
    """Fine speckle within tissue, of another strength in each image."""
    fine = torch.randn(count, slices, size, size, generator=generator)
    fine = nnf.avg_pool2d(fine, 3, stride=1, padding=1) * 3
    strength = 0.16 * torch.rand(count, 1, 1, 1, generator=generator)
    return (fine * strength).clamp(-0.6, 0.6)


def _coil(count: int, size: int, generator: torch.Generator) -> Tensor:
    """A surface coil behind the patient: brighter towards the lower border, often strongly."""
    line = torch.linspace(-1, 1, size)
    draw = torch.rand(count, 4, generator=generator)
    steep = 1.0 * draw[:, 0].square() * (0.3 + draw[:, 1])
    across = 0.4 * (draw[:, 2] - 0.5)
    bowl = 0.5 * (draw[:, 3] - 0.3)
    down = steep[:, None, None] * line[:, None] + bowl[:, None, None] * line[:, None] ** 2
    return torch.exp(down + across[:, None, None] * line[None, :])
