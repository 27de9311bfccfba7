"""Planes between coronal and axial, from the listener to the archive's store."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from models.analyser import Analysis
from models.delineation import Contour, Delineation
from models.volume import Volume
from sij_node.domain.job import State
from tests.support.mr_series import (
    STIR_TIMES,
    STUDY,
    T1_TIMES,
    classic_series,
    enhanced,
    oblique,
    timed,
)
from tests.support.node_in_process import InventedNetworks, NodeInProcess, node_in_process

VALUES = np.random.default_rng(1).integers(0, 4000, (7, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
DECIDED = "accepted because the joints converge caudally (T1, STIR)"


class DivergingJoints(InventedNetworks):
    """Sees joints that diverge towards the feet, as they do across the sacrum."""

    def analyse(self, t1: Volume, stir: Volume) -> Analysis:
        seen = super().analyse(t1, stir)
        return replace(seen, t1=_diverging(seen.t1), stir=_diverging(seen.stir))


def _diverging(drawn: Delineation) -> Delineation:
    return Delineation(
        tuple(
            Contour(one.slice_index, one.side, np.column_stack([rows, columns[::-1]]), 0.9)
            for one in drawn.contours
            for rows, columns in [one.points.T]
        )
    )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeInProcess]:
    every = [{"name": "all", "objects": ["scores", "pdf", "summary"]}]
    with node_in_process(tmp_path / "node", peer={"profile": "all"}, profile=every) as node:
        yield node


def classic(tilt_deg: float) -> list[Dataset]:
    plane = {**GRID, "cosines": oblique(tilt_deg)}
    t1 = classic_series(VALUES, "1.2.3.1", **plane, **T1_TIMES)
    return [*t1, *classic_series(VALUES, "1.2.3.2", **plane, **STIR_TIMES)]


def multi_frame(tilt_deg: float) -> list[Dataset]:
    plane = {**GRID, "cosines": oblique(tilt_deg)}
    t1 = timed(enhanced(VALUES, "1.2.3.1", **plane), 550.0, 12.0)
    return [t1, enhanced(VALUES, "1.2.3.2", **plane)]


def flipped(tilt_deg: float) -> list[Dataset]:
    """Seen from behind: rows run to the patient's right."""
    row, column = oblique(tilt_deg)
    x, y, z = GRID["origin_mm"]
    plane = {
        "spacing_mm": GRID["spacing_mm"],
        "origin_mm": (-x, y, z),
        "cosines": (tuple(-one for one in row), column),
    }
    t1 = classic_series(VALUES, "1.2.3.1", **plane, **T1_TIMES)
    return [*t1, *classic_series(VALUES, "1.2.3.2", **plane, **STIR_TIMES)]


STORED = pytest.mark.parametrize("stored", [classic, multi_frame, flipped])


def reported(results: list[Dataset]) -> str:
    (report,) = [one for one in results if one.Modality == "SR"]
    return str(report.to_json())


@STORED
@pytest.mark.parametrize("tilt_deg", [51, 60])
def test_a_plane_along_the_sacrum_is_analysed_without_doubt(node: NodeInProcess, stored, tilt_deg):
    results = node.take(*stored(tilt_deg))

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    assert "Check the choice of series" not in reported(results)


@STORED
def test_a_semi_axial_pair_at_the_same_angle_is_not(node: NodeInProcess, stored):
    results = node.take(*stored(-43))

    assert node.jobs(STUDY)[-1].state is State.REJECTED
    assert "from coronal, across the sacrum" in reported(results)


@STORED
def test_in_doubt_converging_joints_decide_for_the_plane(node: NodeInProcess, stored):
    results = node.take(*stored(-20))

    job = node.jobs(STUDY)[-1]
    assert job.state is State.DELIVERED
    assert DECIDED in reported(results)
    assert any(DECIDED in one for one in node.admin.study(job.job_id).record.remarks)


@STORED
def test_in_doubt_diverging_joints_decide_against_it(node: NodeInProcess, stored):
    node.inference.analysers[""] = DivergingJoints()

    results = node.take(*stored(-20))

    assert node.jobs(STUDY)[-1].state is State.REJECTED
    assert "T1 and STIR lie across the sacrum" in reported(results)


def test_without_doubt_the_header_decides_alone(node: NodeInProcess):
    node.inference.analysers[""] = DivergingJoints()

    node.take(*classic(20))

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
