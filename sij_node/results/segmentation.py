"""The regions of both joints as a DICOM Segmentation on the grid of the source images.

One BINARY object per source series, the type that archives and viewers support best. Every label
names the side, because viewers do not show coded laterality.

Source: DICOM PS3.3 A.51 and C.8.20 (Segmentation).
"""

from collections.abc import Mapping, Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from models.findings import Region, Side
from models.regions import REGION_LABELS
from sij_node.config.profiles import SeriesKind
from sij_node.dicom import codes
from sij_node.dicom.headers import attribute, text
from sij_node.dicom.volumes import SeriesVolume, SliceSource
from sij_node.results.provenance import MANUFACTURER, MODEL, ResultContext, code_item, stamp

COLOURS: Mapping[tuple[Side, Region], tuple[int, int, int]] = {
    (Side.RIGHT, Region.UPPER_ILIUM): (31, 119, 180),
    (Side.RIGHT, Region.LOWER_ILIUM): (23, 190, 207),
    (Side.RIGHT, Region.UPPER_SACRUM): (44, 160, 44),
    (Side.RIGHT, Region.LOWER_SACRUM): (152, 223, 138),
    (Side.RIGHT, Region.JOINT): (255, 221, 51),
    (Side.LEFT, Region.UPPER_ILIUM): (148, 103, 189),
    (Side.LEFT, Region.LOWER_ILIUM): (227, 119, 194),
    (Side.LEFT, Region.UPPER_SACRUM): (214, 39, 40),
    (Side.LEFT, Region.LOWER_SACRUM): (255, 152, 150),
    (Side.LEFT, Region.JOINT): (255, 127, 14),
}
"""RGB; cool colours for the right joint, warm colours for the left."""


def joint_segmentation(
    series: SeriesVolume,
    headers: Sequence[Dataset],
    regions: NDArray[np.uint8],
    context: ResultContext,
    name: str,
) -> Dataset:
    """The ten regions of both joints on one source series.

    Parameters
    ----------
    series
        The series that was analysed.
    headers
        Headers of its images, in any order; no pixel data needed.
    regions
        Label map on the grid of the volume, values of `models.regions.REGION_LABELS`.
    context
        Provenance; the first network is the contour network.
    name
        T1 or STIR.

    Returns
    -------
    Dataset
        Segmentation Storage. Empty frames are omitted unless the profile asks for them.

    Raises
    ------
    ValueError
        If the label map is empty, has unknown values, or differs in shape from the volume.
    """
    _check_regions(series, regions)
    by_uid = {text(header, "SOPInstanceUID"): header for header in headers}
    kind: SeriesKind = "seg stir" if name == "STIR" else "seg t1"
    segmentation = _encoded(series, _source_images(series, by_uid), regions, context, kind)
    if series.sources[0].frame_number is not None:
        _reference_frames(segmentation, series)
    _derive_dimension_uid(segmentation, context.uid(series.study_uid, kind, "dimensions"))
    stamp(segmentation, by_uid[series.sources[0].sop_instance_uid], context, kind)
    return segmentation


def _encoded(
    series: SeriesVolume,
    sources: Sequence[Dataset],
    regions: NDArray[np.uint8],
    context: ResultContext,
    kind: SeriesKind,
) -> hd.seg.Segmentation:
    name = "STIR" if kind == "seg stir" else "T1"
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=regions,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_segments(series.study_uid, context),
        omit_empty_frames=not context.profile.empty_frames,
        series_instance_uid=context.uid(series.study_uid, kind, "series"),
        series_number=context.profile.number_of(kind),
        sop_instance_uid=context.uid(series.study_uid, kind),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=context.software_version,
        device_serial_number=context.device_uid,
        content_label="SIJ_REGIONS",
        content_description=f"Sacroiliac joints and quadrants on {name}",
        content_creator_name="sij_node^",
    )


def _check_regions(series: SeriesVolume, regions: NDArray[np.uint8]) -> None:
    if regions.shape != series.volume.voxels.shape:
        raise ValueError(
            f"regions have shape {regions.shape}, the volume {series.volume.voxels.shape}"
        )
    if regions.max() > len(REGION_LABELS):
        raise ValueError(f"label {regions.max()} is not one of the {len(REGION_LABELS)} regions")
    if not regions.any():
        raise ValueError("the label map is empty: there is nothing to write")


def _source_images(series: SeriesVolume, by_uid: Mapping[str, Dataset]) -> list[Dataset]:
    """The image attributes that the segmentation needs, without patient data, one per slice.

    Frames stand in as images under UIDs of their own, until `_reference_frames`.
    """
    return [
        _single_image(by_uid[source.sop_instance_uid], series, index)
        for index, source in enumerate(series.sources)
    ]


def _image(header: Dataset) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, keyword, text(header, keyword))
    for keyword in ("Rows", "Columns", "FrameOfReferenceUID"):
        setattr(image, keyword, header.get(keyword))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(image, keyword, "")
    for keyword in ("AccessionNumber", "StudyDate", "StudyTime"):
        setattr(image, keyword, "")
    image.Modality = "MR"
    image.PositionReferenceIndicator = text(header, "PositionReferenceIndicator")
    image.LossyImageCompression = text(header, "LossyImageCompression") or "00"
    return image


def _single_image(header: Dataset, series: SeriesVolume, index: int) -> Dataset:
    image, frame = _image(header), (series.sources[index].frame_number or 1) - 1
    if series.sources[index].frame_number is not None:
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, _frame_uid(index)
    distance_mm = series.volume.spacing_mm[0]
    image.PixelSpacing = attribute(header, "PixelSpacing", frame)
    image.SliceThickness = attribute(header, "SliceThickness", frame) or round(distance_mm, 4)
    image.SpacingBetweenSlices = round(distance_mm, 4)
    image.ImageOrientationPatient = attribute(header, "ImageOrientationPatient", frame)
    image.ImagePositionPatient = attribute(header, "ImagePositionPatient", frame)
    return image


def _frame_uid(index: int) -> str:
    return f"2.25.{index + 1}"


def _reference_frames(segmentation: Dataset, series: SeriesVolume) -> None:
    """Replace the references to frames that stood in as images."""
    frames = {_frame_uid(index): source for index, source in enumerate(series.sources)}
    (referenced,) = segmentation.ReferencedSeriesSequence
    instances = {}
    for reference in referenced.ReferencedInstanceSequence:
        _reference_frame(reference, frames)
        reference.pop("ReferencedFrameNumber", None)
        instances[reference.ReferencedSOPInstanceUID] = reference
    referenced.ReferencedInstanceSequence = list(instances.values())
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in groups.get("DerivationImageSequence") or ():
            for reference in derivation.SourceImageSequence:
                _reference_frame(reference, frames)


def _reference_frame(reference: Dataset, frames: Mapping[str, SliceSource]) -> None:
    source = frames.get(reference.ReferencedSOPInstanceUID)
    if source is None:  # frames of one slice share their reference
        return
    reference.ReferencedSOPClassUID = source.sop_class_uid
    reference.ReferencedSOPInstanceUID = source.sop_instance_uid
    reference.ReferencedFrameNumber = source.frame_number


def _segments(study_uid: str, context: ResultContext) -> list[hd.seg.SegmentDescription]:
    return [
        _segment(number, side, region, study_uid, context)
        for (side, region), number in REGION_LABELS.items()
    ]


def _segment(
    number: int, side: Side, region: Region, study_uid: str, context: ResultContext
) -> hd.seg.SegmentDescription:
    site, part = codes.SITES[region]
    label = context.wording.place(side, region)
    delineating = context.networks[0]
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=site,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=delineating.name,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=delineating.version,
            source=MANUFACTURER,
            parameters={"weights_sha256": delineating.weights_sha256},
        ),
        tracking_uid=context.tracking_uid(study_uid, "region", side, region),
        tracking_id=label,
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS[side, region]),
    )
    modifiers = [codes.SIDES[side], *([part] if part else [])]
    segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
        code_item(modifier) for modifier in modifiers
    ]
    return segment


def _derive_dimension_uid(segmentation: Dataset, uid: str) -> None:
    """Replace the random UID, so that repeating the analysis yields the same bytes."""
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in segmentation.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid
