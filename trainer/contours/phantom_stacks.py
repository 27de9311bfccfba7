"""Squares of the first phantom's slices for training: ``python -m trainer draw-stacks``.

The label slabs (`trainer.phantom.label_slabs`) resemble real images; these squares come from
complete simulated studies, so that the networks know other anatomy and other contrasts as well.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trainer.contours.image_stacks import Stacks, image_stacks, stacks_path, write_stacks
from trainer.phantom.case import make_case, training_options
from trainer.phantom.draw_slabs import CACHE, SlabKind
from trainer.prepared_cases import canonical_sighting


def draw_stacks(
    first: Annotated[int, typer.Option(help="Seed of the first study.")] = 0,
    studies: Annotated[int, typer.Option(help="Studies of the first phantom.")] = 200,
    cache: Annotated[Path, typer.Option(help="Folder of the files.")] = CACHE,
) -> None:
    """Draw squares of the first phantom's studies; files that are there already stay."""
    for seed in range(first, first + studies):
        if not all(stacks_path(cache, kind, seed).exists() for kind in SlabKind):
            write_stacks(phantom_stacks(seed), cache, seed)


def phantom_stacks(seed: int) -> Stacks:
    """Squares of both joints, and whole fields of view, of a study of the first phantom."""
    case = make_case(seed, training_options(seed))
    pairs = ((case.t1, case.t1_truth), (case.stir, case.stir_truth))
    sightings = [canonical_sighting(volume, truth) for volume, truth in pairs]
    return image_stacks(sightings, np.random.default_rng([seed, 29]))
