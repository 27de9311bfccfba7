"""A site's own case files made ready for training.

An experiment then names the folder and splits the numbers of its cases.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from models.analyser import Analyser
from models.case_file import SUFFIX, Case, CaseSeries, read_case_file
from models.delineation import Delineation
from models.findings import POSITIONS
from models.orientation import canonical
from models.roi import RoiRules, Sighting
from models.volume import Volume
from trainer.cases import (
    UNREAD,
    StoredCase,
    canonical_sighting,
    joint_rois,
    stored,
    write_case,
)
from trainer.subjects import proposed_split, write_subjects

STYLE = "own data"


def import_cases(
    folder: Annotated[Path, typer.Argument(help=f"Holds *{SUFFIX}, also in folders within.")],
    out: Annotated[Path, typer.Option(help="Where they go: runs/NAME.")],
    margin_mm: Annotated[float, typer.Option(help="As in the lesion experiment.")] = 15.0,
    size_px: Annotated[int, typer.Option(help="As in the lesion experiment.")] = 112,
    weights: Annotated[
        Path, typer.Option(help="Its contour network draws where nobody did.")
    ] = Path("models/weights"),
) -> None:
    """Prepare a site's own cases for training, and propose a split by subject."""
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    if not paths:
        raise typer.BadParameter(f"{folder} holds no *{SUFFIX}")
    rules = RoiRules(margin_mm=margin_mm, size_px=size_px)
    analyser = Analyser.load(weights, "cpu")

    def delineate(volume: Volume) -> Delineation:
        (sighting,) = analyser.delineate((volume,))
        return sighting.delineation

    out.mkdir(parents=True, exist_ok=True)
    subjects = []
    cases = sorted(((read_case_file(path).subject, path) for path in paths), key=str)
    for number, (subject, path) in enumerate(cases):
        write_case(own_case(number, read_case_file(path), rules, delineate), out)
        subjects.append(subject)
        typer.echo(f"{number + 1}/{len(cases)} {path.name}")
    write_subjects(subjects, out)
    typer.echo(f'[cases]\nfolder = "{out.name}"')
    for name, numbers in proposed_split(subjects).items():
        typer.echo(f"{name} = {list(numbers)}")


def own_case(
    number: int, case: Case, rules: RoiRules, delineate: Callable[[Volume], Delineation]
) -> StoredCase:
    """A case as training reads it.

    Only series that somebody drew on teach contours. Lesions are taught where there are T1 and
    STIR and something was read; of several readings the consensus counts (paper).

    Parameters
    ----------
    delineate
        Finds the joints of a canonical volume on which nobody drew, so that they can be cut out.
    """
    drawn = sorted(
        (one for one in case.series if one.delineation is not None),
        key=lambda one: one.kind == "STIR",
    )
    agreed = case.agreed()
    pair = [one for kind in ("T1", "STIR") if (one := case.of_kind(kind)) is not None]
    readable = bool(agreed) and len(pair) == 2
    rois = {}
    if readable:
        sightings = [_sighting(one, delineate) for one in pair]
        rois = joint_rois(sightings, rules, np.random.default_rng(number))
    return stored(
        number,
        [_sighting(one, delineate) for one in drawn],
        stir_from=sum(len(one.volume.voxels) for one in drawn if one.kind != "STIR"),
        style=STYLE,
        rois=rois,
        severity=[agreed.get(position, UNREAD) for position in POSITIONS],
        lesions_readable=readable,
    )


def _sighting(one: CaseSeries, delineate: Callable[[Volume], Delineation]) -> Sighting:
    if one.delineation is not None:
        return canonical_sighting(one.volume, one.delineation)
    upright = canonical(one.volume)
    return Sighting(upright, delineate(upright))
