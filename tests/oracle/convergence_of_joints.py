"""How far the delineated joints converge in planes along and across the sacrum.

Run it with ``python -m tests.oracle.convergence_of_joints 3``.
"""

import argparse
from collections.abc import Sequence

import typer

from models.delineate import ContourNetwork, ContourRules, delineations, loaded_contour_network
from models.orientation import canonical
from sij_node.analyse.plane_check import convergence_mm
from trainer.evaluation.evaluate_geometry import FIRST, OPTIONS, ScanGeometry
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.phantom.case import make_case

TILTS_DEG: Sequence[float | None] = (None, 60, 0, -20, -45, -60)
"""From coronal; positive along the sacrum. None is the plan along each phantom's own sacrum."""


def measured(network: ContourNetwork, rules: ContourRules, seed: int, tilt: float | None) -> float:
    """Convergence in mm of the joints of one phantom in planes of one tilt; 0 if none is seen."""
    case = make_case(seed, OPTIONS, ScanGeometry(tilt_deg=tilt).replanned)
    volumes = [canonical(one) for one in (case.t1, case.stir)]
    seen = delineations(network, rules, volumes)
    pairs = [(one.delineation, volume) for one, volume in zip(seen, volumes, strict=True)]
    return convergence_mm(pairs) or 0.0


def main() -> None:
    """Print the convergence of each phantom, one line for each tilt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phantoms", type=int, nargs="?", default=3)
    seeds = range(FIRST, FIRST + parser.parse_args().phantoms)
    network, rules = loaded_contour_network(SHIPPED_WEIGHTS / "contour")
    for tilt in TILTS_DEG:
        found = [round(measured(network, rules, seed, tilt)) for seed in seeds]
        name = "along the sacrum" if tilt is None else f"tilted by {tilt}°"
        typer.echo(f"{name}: {', '.join(map(str, found))} mm")


if __name__ == "__main__":
    main()
