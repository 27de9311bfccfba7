"""Examples of all result objects, from which the statement lists attributes and content items.

The images are those of the doctor's phantom. The findings are made up so that every kind of
content appears; no network is run.
"""

import zipfile
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.burden_scores import BurdenName, BurdenScore
from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Finding, Side, Sight
from models.findings import Sequence as Kind
from models.regions import REGION_LABELS
from sij_node import __version__, doctor
from sij_node.config.profiles import Profile
from sij_node.dicom.acquisition_facts import series_facts
from sij_node.dicom.series_roles import choose_pair
from sij_node.dicom.volumes import volume_from
from sij_node.domain.job import Result
from sij_node.domain.prior_comparison import PriorScores, SincePrior
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.build import (
    AnalysedStudy,
    ResultObject,
    not_analysed_objects,
    result_objects,
)
from sij_node.results.not_analysed import NotAnalysed
from sij_node.results.prior_report import read_prior_scores
from sij_node.results.provenance import AlgorithmIdentity, ResultContext, to_part10
from sij_node.results.scores_sr import scores_report

_IMAGES = Path(*doctor.__path__) / "study.zip"
_MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
_NETWORKS = (
    AlgorithmIdentity("contour", "0", "0" * 64),
    AlgorithmIdentity("lesion", "0", "0" * 64),
)
_SEEN = {0: 0.9, 1: None, 6: 0.9}
"""Probabilities at some positions, one of which could not be evaluated; elsewhere 0.1."""


def example_results(profile: Profile) -> list[ResultObject]:
    """One of every kind: a revision, compared with a prior, and a study that was not analysed."""
    study = _study()
    first = ResultContext("", _NETWORKS, __version__, _MOMENT, profile)
    context = replace(
        first,
        predecessors=tuple(_kept(one) for one in result_objects(study, first)),
        revision=2,
        since=SincePrior(_prior(study, first)),
    )
    notice = NotAnalysed("pair-missing", "The study has no STIR series.", ())
    alone = replace(context, networks=(), since=SincePrior())
    return [
        *result_objects(study, context),
        *not_analysed_objects(notice, study.headers, alone),
    ]


def _study() -> AnalysedStudy:
    by_series = defaultdict(list)
    for image in _images():
        by_series[image.SeriesInstanceUID].append(image)
    choice = choose_pair({uid: series_facts(images) for uid, images in by_series.items()})
    t1, stir = by_series[choice.t1_series_uid], by_series[choice.stir_series_uid]
    findings = [
        Finding(position, _SEEN.get(number, 0.1), 0.5, _sight(number))
        for number, position in enumerate(POSITIONS)
    ]
    series = (_analysed(Kind.T1, t1), _analysed(Kind.STIR, stir))
    burden = [BurdenScore(name, 8, 5, 12) for name in BurdenName]
    return AnalysedStudy(series, findings, burden=burden)


def _images() -> list[Dataset]:
    with zipfile.ZipFile(_IMAGES) as bundle:
        names = [name for name in bundle.namelist() if not name.endswith("/")]
        return [dcmread(BytesIO(bundle.read(name))) for name in sorted(names)]


def _sight(number: int) -> Sight | None:
    sequence = Kind.T1 if number else Kind.STIR
    return Sight(sequence, 2, 20.0, 20.0) if _SEEN.get(number) else None


def _analysed(kind: Kind, images: Sequence[Dataset]) -> AnalysedSeries:
    source = volume_from(images)
    regions = np.zeros(source.volume.voxels.shape, np.uint8)
    for value in REGION_LABELS.values():
        regions[2, 4 * value : 4 * value + 2, 4:8] = value
    columns = {Side.RIGHT: 20.0, Side.LEFT: 40.0}
    lines = (
        Contour(2, side, np.array([[row, across] for row in (10.0, 15.0, 20.0)]), 0.9)
        for side, across in columns.items()
    )
    return AnalysedSeries(kind, source, images, Delineation(tuple(lines)), regions)


def _prior(study: AnalysedStudy, context: ResultContext) -> PriorScores | None:
    headers = [deepcopy(header) for header in study.headers]
    for header in headers:
        header.StudyInstanceUID, header.StudyDate = "2.25.1", "20190101"
    report = scores_report(study.findings, headers, context, burden=study.burden)
    return read_prior_scores(to_part10(report, "SIJNODE"))


def _kept(one: ResultObject) -> Result:
    made = one.dataset
    uids = str(made.SOPInstanceUID), str(made.SOPClassUID), one.kind, str(made.SeriesInstanceUID)
    return Result(*uids, "", "", 0, "")
