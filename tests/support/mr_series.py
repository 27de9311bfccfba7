"""Small MR series for tests: classic or Enhanced, in any orientation and transfer syntax."""

from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

STUDY = "1.2.3"
FRAME = "1.2.3.99"
MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
EXPLICIT = "1.2.840.10008.1.2.1"
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
"""Direction cosines of a row (to the left) and of a column (down): the normal points back."""

T1_TIMES = {"RepetitionTime": 550.0, "EchoTime": 12.0, "ScanningSequence": "SE"}
STIR_TIMES = {
    "RepetitionTime": 4800.0,
    "EchoTime": 57.0,
    "InversionTime": 220.0,
    "ScanningSequence": ["SE", "IR"],
}
PATIENT = {
    "PatientName": "Muster^Erika",
    "PatientID": "4711",
    "IssuerOfPatientID": "HOSPITAL",
    "PatientBirthDate": "19800101",
    "PatientSex": "F",
}


def oblique(tilt_deg: float, turn_deg: float = 0.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Coronal cosines, tilted along the sacrum and turned about the body's axis."""
    tilt, turn = np.radians([tilt_deg, turn_deg])
    row = (np.cos(turn), np.sin(turn), 0.0)
    column = np.cross(
        (np.sin(turn) * -np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)), row
    )
    return row, tuple(column / np.linalg.norm(column))


def classic_series(
    values: NDArray[np.integer[Any]],
    series_uid: str = "1.2.3.1",
    cosines: tuple[Sequence[float], Sequence[float]] = CORONAL,
    origin_mm: Sequence[float] = (-40.0, -30.0, 50.0),
    spacing_mm: tuple[float, float, float] = (4.4, 0.8, 0.6),
    **attributes: Any,
) -> list[Dataset]:
    """One image per slice of `values` (slices, rows, columns), along the cosines' normal."""
    normal = np.cross(*cosines)
    return [
        _image(
            plane,
            series_uid,
            index,
            {
                "ImagePositionPatient": [
                    round(float(x), 6) for x in origin_mm + normal * spacing_mm[0] * index
                ],
                "ImageOrientationPatient": [round(float(x), 8) for x in (*cosines[0], *cosines[1])],
                "PixelSpacing": list(spacing_mm[1:]),
                "SliceThickness": 4.0,
                "SpacingBetweenSlices": spacing_mm[0],
                **T1_TIMES,
                **attributes,
            },
        )
        for index, plane in enumerate(values)
    ]


def _image(
    plane: NDArray[np.integer[Any]], series_uid: str, index: int, attributes: dict[str, Any]
) -> Dataset:
    dataset = _common(series_uid, f"{series_uid}.{index + 1}", MR)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.InstanceNumber = index + 1
    dataset.ScanOptions = ""
    dataset.SequenceVariant = "SK"
    dataset.MRAcquisitionType = "2D"
    dataset.EchoTrainLength = 3
    put_pixels(dataset, plane)
    return with_attributes(dataset, **attributes)


def _common(series_uid: str, sop_uid: str, sop_class: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, series_uid
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = FRAME, ""
    dataset.Modality, dataset.Manufacturer = "MR", "Tests"
    dataset.StudyDate, dataset.StudyTime = "20240102", "101112"
    dataset.SeriesDate, dataset.SeriesTime = "20240102", "101500"
    dataset.AccessionNumber, dataset.StudyID = "A1", "S1"
    dataset.ReferringPhysicianName = "Arzt^Anna"
    dataset.SeriesNumber = 3
    return with_attributes(dataset, **PATIENT)


def with_attributes(dataset: Dataset, **attributes: Any) -> Dataset:
    """Set attributes; None removes one."""
    for keyword, value in attributes.items():
        if value is None:
            if keyword in dataset:
                del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def put_pixels(dataset: Dataset, values: NDArray[np.integer[Any]], stored_bits: int = 0) -> Dataset:
    """Store values uncompressed, in the bits of their type."""
    bits = values.dtype.itemsize * 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored = bits, stored_bits or bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    return dataset


def enhanced(
    values: NDArray[np.integer[Any]],
    series_uid: str = "1.2.3.2",
    cosines: tuple[Sequence[float], Sequence[float]] = CORONAL,
    origin_mm: Sequence[float] = (-40.0, -30.0, 50.0),
    spacing_mm: tuple[float, float, float] = (4.4, 0.8, 0.6),
    order: Sequence[int] | None = None,
    **attributes: Any,
) -> Dataset:
    """One Enhanced MR object; frame i holds slice ``order[i]`` of `values`."""
    order = list(range(len(values))) if order is None else list(order)
    dataset = _common(series_uid, f"{series_uid}.1", ENHANCED)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.InstanceNumber, dataset.NumberOfFrames = 1, len(values)
    put_pixels(dataset, values[order])
    dataset.SharedFunctionalGroupsSequence = [_shared(cosines, spacing_mm)]
    normal = np.cross(*cosines)
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(origin_mm + normal * spacing_mm[0] * at, at + 1) for at in order
    ]
    return with_attributes(dataset, EchoPulseSequence="SPIN", **attributes)


def timed(image: Dataset, repetition_ms: float, echo_ms: float) -> Dataset:
    """An Enhanced image without inversion, with other times."""
    shared = image.SharedFunctionalGroupsSequence[0]
    shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime = repetition_ms
    shared.MREchoSequence[0].EffectiveEchoTime = echo_ms
    shared.MRModifierSequence[0] = with_attributes(Dataset(), InversionRecovery="NO")
    return image


def _item(**attributes: Any) -> list[Dataset]:
    return [with_attributes(Dataset(), **attributes)]


def _shared(
    cosines: tuple[Sequence[float], Sequence[float]], spacing_mm: tuple[float, float, float]
) -> Dataset:
    return with_attributes(
        Dataset(),
        PixelMeasuresSequence=_item(
            PixelSpacing=list(spacing_mm[1:]),
            SliceThickness=4.0,
            SpacingBetweenSlices=spacing_mm[0],
        ),
        PlaneOrientationSequence=_item(
            ImageOrientationPatient=[round(float(x), 8) for x in (*cosines[0], *cosines[1])]
        ),
        MRTimingAndRelatedParametersSequence=_item(RepetitionTime=4800.0, RFEchoTrainLength=9),
        MREchoSequence=_item(EffectiveEchoTime=57.0),
        MRModifierSequence=_item(InversionRecovery="YES", InversionTimes=[220.0]),
        PixelValueTransformationSequence=_item(
            RescaleIntercept=0, RescaleSlope=1, RescaleType="US"
        ),
    )


def _frame(position_mm: NDArray[np.float64], in_stack: int) -> Dataset:
    return with_attributes(
        Dataset(),
        FrameContentSequence=_item(
            StackID="1", InStackPositionNumber=in_stack, DimensionIndexValues=[1, in_stack]
        ),
        PlanePositionSequence=_item(ImagePositionPatient=[round(float(x), 6) for x in position_mm]),
    )


def _jpeg(plane: NDArray[Any], bits: int) -> bytes:
    return imagecodecs.jpeg8_encode(plane, lossless=True, predictor=1, bitspersample=bits)


def _jpeg_ls(plane: NDArray[Any], _: int) -> bytes:
    return imagecodecs.jpegls_encode(plane)


def _jpeg_2000(plane: NDArray[Any], bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True, bitspersample=bits)


def rle(plane: NDArray[Any], _: int = 0) -> bytes:
    """One frame as RLE byte planes, most significant first (PS3.5 G)."""
    octets = plane[..., None].view(np.uint8)
    planes = [
        imagecodecs.packbits_encode(np.ascontiguousarray(octets[..., i]).tobytes())
        for i in reversed(range(octets.shape[-1]))
    ]
    planes = [each + b"\0" * (len(each) % 2) for each in planes]
    starts = 64 + np.cumsum([0, *map(len, planes)])[:-1]
    header = np.zeros(16, "<u4")
    header[0], header[1 : 1 + len(planes)] = len(planes), starts
    return header.tobytes() + b"".join(planes)


ENCODERS: dict[str, Callable[[NDArray[Any], int], bytes]] = {
    "1.2.840.10008.1.2.4.57": _jpeg,
    "1.2.840.10008.1.2.4.70": _jpeg,
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _jpeg_2000,
    "1.2.840.10008.1.2.5": rle,
}


def compressed(dataset: Dataset, syntax: str) -> Dataset:
    """Encode the pixels of an uncompressed dataset in place."""
    frames = np.frombuffer(dataset.PixelData, f"u{dataset.BitsAllocated // 8}").reshape(
        -1, dataset.Rows, dataset.Columns
    )
    encoded = [ENCODERS[syntax](frame, dataset.BitsStored) for frame in frames]
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset
