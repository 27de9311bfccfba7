"""The findings where they are seen: a structured report that viewers draw on the images.

One report for each series, each in a series of its own, and every group of it has coordinates:
viewers draw the newest report of a series only, and fail where coordinates are missing.

Source: DICOM PS3.16 TID 1500, 1501 (lesions), 1410 (contours), 320; PS3.3 C.18.6.1.2 (pixel
coordinates start at the corner of the first pixel, ours at its centre).
"""

from collections.abc import Sequence

import numpy as np
from highdicom.sr import GraphicTypeValues
from highdicom.sr import RelationshipTypeValues as Related
from highdicom.sr import value_types as sr
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from models.delineation import Contour
from models.findings import Finding, Region, Sight
from sij_node.dicom import codes
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.provenance import ResultContext, derived_uid
from sij_node.results.sr_document import (
    algorithm,
    coded,
    container,
    document,
    lesion,
    measurements,
    probability,
    tracked,
    words,
)

FROM_CENTRE_TO_CORNER = 0.5
FEWEST_VERTICES = 6
"""OHIF interprets a polyline of exactly 4 or 5 vertices as a rectangle."""


def image_findings_report(
    analysed: AnalysedSeries, findings: Sequence[Finding], context: ResultContext
) -> Dataset:
    """Lesions and contours of one series.

    Parameters
    ----------
    findings
        Those present and best seen on this series are marked as points and come first; a finding
        without a known point is not in this report.
    context
        Provenance; the contour network first, the lesion network last.

    Returns
    -------
    Dataset
        SR with TID 1500, complete, unverified.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    groups = [
        *(_lesion(finding, sight, analysed, context) for finding, sight in analysed.seen(findings)),
        *(_contour(contour, analysed, context) for contour in analysed.contours),
    ]
    if not groups:
        raise ValueError(f"nothing was found on {analysed.sequence}: the report would be empty")
    content = [words(codes.COMMENT, context.intended_use), measurements(groups)]
    return document(
        codes.IMAGING_MEASUREMENT_REPORT,
        content,
        analysed.headers,
        context,
        analysed.kind("findings"),
    )


def _lesion(
    finding: Finding, sight: Sight, analysed: AnalysedSeries, context: ResultContext
) -> sr.ContainerContentItem:
    """Measurement group of a lesion: a probability, inferred from a point (TID 1501)."""
    number = probability(finding.probability)
    point = sr.ScoordContentItem(
        name=codes.SOURCE_OF_MEASUREMENT,
        graphic_type=GraphicTypeValues.POINT,
        graphic_data=in_pixels([(sight.row, sight.column)]),
        relationship_type=Related.INFERRED_FROM,
    )
    point.ContentSequence = sr.ContentSequence([_image(analysed, sight.slice_index)])
    number.ContentSequence = sr.ContentSequence([point])
    content = [
        *lesion(finding, analysed.source.study_uid, context),
        number,
        coded(codes.PRESENCE, codes.PRESENCES[finding.presence]),
        # Viewers write the comment beside the point, and the probability below it.
        words(codes.COMMENT, context.wording.position(finding.position)),
    ]
    return container(codes.MEASUREMENT_GROUP, content, template_id="1501")


def _contour(
    contour: Contour, analysed: AnalysedSeries, context: ResultContext
) -> sr.ContainerContentItem:
    """Measurement group of a contour: a joint's centreline on a slice (TID 1410)."""
    line = sr.ScoordContentItem(
        name=codes.IMAGE_REGION,
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=in_pixels(drawable(contour.points)),
        relationship_type=Related.CONTAINS,
    )
    line.ContentSequence = sr.ContentSequence([_image(analysed, contour.slice_index)])
    joint = coded(codes.FINDING, codes.SACROILIAC_JOINT)
    side = coded(codes.LATERALITY, codes.SIDES[contour.side], Related.HAS_CONCEPT_MOD)
    joint.ContentSequence = sr.ContentSequence([side])
    name = context.wording.contour.format(
        joint=context.wording.place(contour.side, Region.JOINT),
        sequence=analysed.sequence,
        image=analysed.image_number(contour.slice_index),
    )
    content = [
        *tracked(name, _tracking_uid(contour, analysed)),
        coded(codes.FINDING_CATEGORY, codes.ANATOMICAL_STRUCTURE),
        joint,  # no finding site: OHIF writes the bare code of its concept beside the line
        coded(codes.GEOMETRIC_PURPOSE, codes.CENTERLINE, Related.HAS_CONCEPT_MOD),
        *algorithm(context.networks[:1]),
        line,
    ]
    return container(codes.MEASUREMENT_GROUP, content, template_id="1410")


def _tracking_uid(contour: Contour, analysed: AnalysedSeries) -> str:
    source = analysed.source.sources[contour.slice_index]
    image = (source.sop_instance_uid, str(source.frame_number or 1))
    return derived_uid(analysed.source.study_uid, "contour", contour.side, *image)


def _image(analysed: AnalysedSeries, slice_index: int) -> sr.ImageContentItem:
    source = analysed.source.sources[slice_index]
    return sr.ImageContentItem(
        name=codes.SOURCE_IMAGE,
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        referenced_frame_numbers=source.frame_number,
        relationship_type=Related.SELECTED_FROM,
    )


def in_pixels(points: ArrayLike) -> NDArray[np.float64]:
    """Pixel coordinates (column, row) of index-centred points (row, column)."""
    return np.asarray(points, np.float64)[..., ::-1] + FROM_CENTRE_TO_CORNER


def drawable(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same open line with enough vertices, and never closed.

    Parameters
    ----------
    points
        Shape ``(n, 2)``, n ≥ 2.
    """
    if len(points) > 2 and (points[0] == points[-1]).all():
        points = points[:-1]
    while len(points) < FEWEST_VERTICES:
        steps = np.arange(0, len(points) - 0.75, 0.5)
        points = np.stack(
            [np.interp(steps, range(len(points)), axis) for axis in points.T], axis=-1
        )
    return points
