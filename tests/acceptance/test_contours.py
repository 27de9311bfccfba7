"""Contours returned to the PACS, compared with the ground truth of the phantom it sent.

Everything is measured in the patient's coordinates, from what lies in the PACS.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from models.delineation import Delineation
from models.orientation import carried
from models.regions import BAND_MM
from models.volume import Volume
from sij_node.domain.job import State
from tests.support.oriented_volumes import reordered
from tests.support.orthanc import Orthanc, running_orthanc, two_ports
from tests.support.phantom_studies import PhantomStudy, written
from tests.support.returned_lines import Lines, joint_bands, report_lines
from tests.support.running_node import RunningNode, running_node
from tests.support.waiting import wait_for
from trainer.metrics.contour_error import contour_error
from trainer.phantom.case import PhantomCase

pytestmark = pytest.mark.acceptance

PAPERS_95TH_PERCENTILE_MM = 2.76

ORIENTATIONS = {
    "as drawn": ((False, ()), {"vendor": "siemens"}),
    "from behind, mirrored": ((False, (0, 2)), {"vendor": "ge"}),
    "lying, upside down": ((True, (0, 1)), {"vendor": "canon"}),
    "enhanced, upside down": ((False, (1,)), {"vendor": "philips", "enhanced": True}),
}
"""How the voxels lie: in-plane axes exchanged, axes reversed; and how they are written."""


@pytest.fixture(scope="module")
def beside_orthanc(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Orthanc, RunningNode]]:
    ports = two_ports()
    folder = tmp_path_factory.mktemp("node")
    with (
        running_node(folder, archive_port=ports[0], profile="ohif") as node,
        running_orthanc(tmp_path_factory.mktemp("orthanc"), node.peer, ports) as orthanc,
    ):
        yield orthanc, node


@dataclass(frozen=True, eq=False)
class Returned:
    """What came back of one study, and what is true of it."""

    lines: Lines
    bands: Lines
    truth: Lines


def _lines_mm(volume: Volume, delineation: Delineation) -> Lines:
    return [
        (one.side, volume.to_patient(np.insert(one.points, 0, one.slice_index, axis=1)))
        for one in delineation.contours
    ]


def _lying(case: PhantomCase, how: tuple[bool, tuple[int, ...]]) -> PhantomCase:
    """The same patient in the same place, his voxels in another order."""
    volumes = {name: reordered(getattr(case, name), *how) for name in ("t1", "stir")}
    truths = {
        f"{name}_truth": carried(getattr(case, f"{name}_truth"), getattr(case, name), volume)
        for name, volume in volumes.items()
    }
    return replace(case, **volumes, **truths)


@pytest.fixture(scope="module", params=ORIENTATIONS.values(), ids=ORIENTATIONS)
def returned(request, beside_orthanc, case, tmp_path_factory) -> Returned:
    orthanc, node = beside_orthanc
    (how, writing) = request.param
    lying = _lying(case, how)
    study = _sent(lying, tmp_path_factory.mktemp("study"), writing, orthanc, node)
    results = [dcmread(BytesIO(file)) for file in orthanc.result_files_of(study.study_uid)]
    truth = _lines_mm(case.t1, case.t1_truth) + _lines_mm(case.stir, case.stir_truth)
    lines = report_lines(results, map(dcmread, study.files))
    return Returned(lines, list(joint_bands(results)), truth)


def _sent(
    case: PhantomCase,
    folder: Path,
    writing: Mapping[str, object],
    orthanc: Orthanc,
    node: RunningNode,
) -> PhantomStudy:
    study = written(case, folder, **writing)
    orthanc.receive(study.files)
    node.wait_for_state(study.study_uid, State.DELIVERED)
    wait_for(lambda: len(orthanc.results_of(study.study_uid)) >= 5, "results in Orthanc")
    return study


def test_the_lines_in_the_report_lie_on_the_true_joints_of_their_side(returned):
    errors = []

    for side, true_line in returned.truth:
        nearest = [contour_error(true_line, line).rms for s, line in returned.lines if s is side]
        errors.append(min(nearest))

    assert np.median(errors) < PAPERS_95TH_PERCENTILE_MM / 2
    assert np.mean(np.array(errors) < PAPERS_95TH_PERCENTILE_MM) > 0.8


def test_the_segmented_band_covers_the_true_line_of_its_side(returned):
    away = []

    for side, true_line in returned.truth:
        of_side = np.concatenate([points for s, points in returned.bands if s is side])
        away += [np.linalg.norm(of_side - point, axis=1).min() for point in true_line]

    assert np.median(away) < 1
    assert np.mean(np.array(away) < BAND_MM + PAPERS_95TH_PERCENTILE_MM) > 0.9
