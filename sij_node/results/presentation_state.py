"""Contours and lesions as a presentation state, which viewers overlay on the images.

One object for each series. It also defines a window, because viewers take the window from the
presentation state that they apply.

Source: DICOM PS3.3 A.33.1 (Grayscale Softcopy Presentation State), C.10.5 (graphic annotation,
whose pixel coordinates start at the corner of the first pixel), C.10.7 (layers), C.11.8 (window).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from models.delineation import Contour
from models.findings import Finding, Lesion, Region, Sight
from sij_node.dicom.headers import attribute, number
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.image_findings_sr import drawable, in_pixels
from sij_node.results.joint_diagram import ON_IMAGES
from sij_node.results.provenance import ResultContext, stamp

CONTOURS = "CONTOURS"
LAYERS: Mapping[Lesion, str] = {one: one.name for one in Lesion}
COLOURS = {CONTOURS: (255, 221, 51), **{LAYERS[one]: ON_IMAGES[one] for one in Lesion}}
"""RGB of each layer, bottom layer first."""
DARKEST_PERCENT, BRIGHTEST_PERCENT = 1.0, 99.5
RING_MM = 4.0
LABEL_ABOVE_MM = 6.0
LIST_EDGE, LIST_LINE = 0.02, 0.03
"""Margin and line height of the lists of lesions, as fractions of the image."""


def presentation_state(
    analysed: AnalysedSeries, findings: Sequence[Finding], context: ResultContext
) -> Dataset:
    """The contours of one series and the lesions best seen on it.

    Parameters
    ----------
    findings
        Those present and best seen on this series get a ring and a label.

    Returns
    -------
    Dataset
        Grayscale Softcopy Presentation State; every label names its side in words.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    drawn = [
        *(_contour(contour, analysed, context) for contour in analysed.contours),
        *_lesions(analysed.seen(findings), analysed, context),
    ]
    if not drawn:
        raise ValueError(f"nothing was found on {analysed.sequence}: there is nothing to draw")
    state = Dataset()
    state.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    state.Modality, state.InstanceNumber = "PR", 1
    state.BodyPartExamined = "PELVIS"  # any paired part would need a side
    state.ContentLabel = f"SIJ_{analysed.sequence}"
    state.ContentDescription = context.description(analysed.kind("presentation"))
    state.ContentCreatorName = "sij_node^"
    slices = range(len(analysed.source.sources))
    state.ReferencedSeriesSequence = [_series(analysed, slices)]
    state.DisplayedAreaSelectionSequence = [_whole_images(analysed, slices)]
    state.GraphicAnnotationSequence = drawn
    state.GraphicLayerSequence = [_layer(name, order) for order, name in enumerate(COLOURS, 1)]
    state.SoftcopyVOILUTSequence = _windows(analysed)
    state.PresentationLUTShape = "IDENTITY"
    stamp(state, analysed.header(0), context, analysed.kind("presentation"))
    state.PresentationCreationDate, state.PresentationCreationTime = (
        state.pop(f"Content{part}").value for part in ("Date", "Time")
    )
    return state


# ---- graphics ------------------------------------------------------------------------------------


def _contour(contour: Contour, analysed: AnalysedSeries, context: ResultContext) -> Dataset:
    label = context.wording.place(contour.side, Region.JOINT)
    upwards = contour.points[0] - contour.points[min(2, len(contour.points) - 1)]
    step_px = LABEL_ABOVE_MM / analysed.source.volume.spacing_mm[1]
    above = contour.points[0] + upwards / max(float(np.linalg.norm(upwards)), 1e-6) * step_px
    return _annotation(
        CONTOURS,
        analysed,
        contour.slice_index,
        _graphic("POLYLINE", in_pixels(drawable(contour.points))),
        _label(label, in_pixels(above)),
    )


def _lesions(
    seen: Sequence[tuple[Finding, Sight]], analysed: AnalysedSeries, context: ResultContext
) -> Iterator[Dataset]:
    """A ring around each lesion; its label in a list above the joints, with a line to the ring."""
    _, rows, columns = analysed.source.volume.voxels.shape
    _, row_mm, column_mm = analysed.source.volume.spacing_mm
    listed: Counter[tuple[int, bool]] = Counter()
    for finding, at in sorted(seen, key=lambda one: one[1].row):
        place = (at.slice_index, at.column < columns / 2)
        above = in_pixels((at.row - RING_MM / row_mm, at.column))
        label = _label(context.wording.labelled(finding), above)
        _put_in_list(label, listed[place], place[1], (rows, columns))
        listed[place] += 1
        ring = in_pixels([(at.row, at.column), (at.row, at.column + RING_MM / column_mm)])
        layer = LAYERS[finding.position.head.lesion]
        yield _annotation(layer, analysed, at.slice_index, _graphic("CIRCLE", ring), label)


def _put_in_list(label: Dataset, line: int, on_the_left: bool, shape: tuple[int, int]) -> None:
    rows, columns = shape
    left = LIST_EDGE if on_the_left else 0.5 + LIST_EDGE
    top = LIST_EDGE + line * LIST_LINE
    label.BoundingBoxAnnotationUnits = "PIXEL"
    label.BoundingBoxTopLeftHandCorner = [left * columns, top * rows]
    label.BoundingBoxBottomRightHandCorner = [
        (left + 0.5 - 2 * LIST_EDGE) * columns,
        (top + LIST_LINE) * rows,
    ]
    label.BoundingBoxTextHorizontalJustification = "LEFT"
    label.AnchorPointVisibility = "Y"


def _annotation(
    layer: str, analysed: AnalysedSeries, slice_index: int, graphic: Dataset, label: Dataset
) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence = _images(analysed, [slice_index])
    item.GraphicLayer = layer
    item.TextObjectSequence = [label]
    item.GraphicObjectSequence = [graphic]
    return item


def _graphic(kind: str, points: NDArray[np.float64]) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(points)
    item.GraphicData = points.ravel().tolist()
    item.GraphicType = kind
    item.GraphicFilled = "N"
    return item


def _label(words: str, at: NDArray[np.float64]) -> Dataset:
    item = Dataset()
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.UnformattedTextValue = words
    item.AnchorPoint = at.tolist()
    item.AnchorPointVisibility = "N"
    return item


def _layer(name: str, order: int) -> Dataset:
    colour = CIELabColor.from_rgb(*COLOURS[name])
    item = Dataset()
    item.GraphicLayer = name
    item.GraphicLayerOrder = order
    item.GraphicLayerRecommendedDisplayCIELabValue = list(colour.value)
    item.GraphicLayerDescription = name.replace("_", " ").capitalize()
    return item


# ---- referenced images and windows ---------------------------------------------------------------


def _series(analysed: AnalysedSeries, slices: Sequence[int]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = analysed.source.series_uid
    item.ReferencedImageSequence = _images(analysed, slices)
    return item


def _images(analysed: AnalysedSeries, slices: Sequence[int]) -> list[Dataset]:
    """References to images; frames of a multi-frame image in one reference."""
    frames: dict[tuple[str, str], list[int]] = {}
    for index in slices:
        source = analysed.source.sources[index]
        named = frames.setdefault((source.sop_class_uid, source.sop_instance_uid), [])
        if source.frame_number is not None:
            named.append(source.frame_number)
    return [_image(*uids, sorted(numbers)) for uids, numbers in frames.items()]


def _image(sop_class_uid: str, sop_instance_uid: str, frames: list[int]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if frames:
        item.ReferencedFrameNumber = frames
    return item


def _whole_images(analysed: AnalysedSeries, slices: Sequence[int]) -> Dataset:
    _, rows, columns = analysed.source.volume.voxels.shape
    first = analysed.source.sources[0].frame_number or 1
    item = Dataset()
    item.ReferencedImageSequence = _images(analysed, slices)
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [columns, rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    item.PresentationPixelSpacing = attribute(analysed.header(0), "PixelSpacing", first - 1)
    return item


def _windows(analysed: AnalysedSeries) -> list[Dataset]:
    """One window of the whole volume, in the stored values of each image.

    Slices may differ in rescale slope and intercept, so the rescaling is applied to the window
    instead of a modality transformation.
    """
    dark, bright = window(analysed.source.volume.voxels)
    slices: dict[tuple[float, float], list[int]] = {}
    for index, source in enumerate(analysed.source.sources):
        slope, intercept = _rescale(analysed.header(index), (source.frame_number or 1) - 1)
        low, high = sorted(((dark - intercept) / slope, (bright - intercept) / slope))
        slices.setdefault((round((low + high) / 2, 2), round(high - low, 2)), []).append(index)
    return [_window(*span, _images(analysed, on)) for span, on in slices.items()]


def window(voxels: NDArray[np.float32]) -> tuple[float, float]:
    """Values shown as black and as white; never equal."""
    dark, bright = np.percentile(voxels, (DARKEST_PERCENT, BRIGHTEST_PERCENT))
    return float(dark), max(float(bright), float(dark) + 1.0)


def _rescale(header: Dataset, frame: int) -> tuple[float, float]:
    slope = number(header, "RescaleSlope", frame) or 1.0
    return slope, number(header, "RescaleIntercept", frame) or 0.0


def _window(centre: float, width: float, images: list[Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence = images
    item.WindowCenter, item.WindowWidth = centre, max(width, 1.0)
    return item
