"""A phantom study as DICOM files with the headers of four vendors, classic or Enhanced MR.

Source: DICOM PS3.3 A.4 (MR Image), A.36 (Enhanced MR Image); vendor-specific
values of ScanningSequence, SequenceName and ScanOptions as seen on their scanners.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal, cast
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pydicom.valuerep import format_number_as_ds
from scipy.ndimage import map_coordinates

from models.volume import Volume
from trainer.phantom.case import PhantomCase

Vendor = Literal["siemens", "philips", "ge", "canon"]
Contrast = Literal["t1", "stir"]


@dataclass(frozen=True)
class Protocol:
    """Header values of one sequence of a vendor."""

    description: str
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...]
    sequence_name: str | None
    echo_train: int
    image_type: tuple[str, ...]


@dataclass(frozen=True)
class VendorProfile:
    """A vendor's name, scanner and its two protocols."""

    manufacturer: str
    model: str
    software: str
    protocols: dict[Contrast, Protocol]


_M = ("ORIGINAL", "PRIMARY", "M")
VENDORS: dict[Vendor, VendorProfile] = {
    "siemens": VendorProfile(
        "SIEMENS",
        "Phantom Aera",
        "syngo phantom E11",
        {
            "t1": Protocol(
                "t1_tse_cor_obl",
                ("SE",),
                ("SK", "SP", "OSP"),
                (),
                "*tse2d1_3",
                3,
                (*_M, "NORM", "DIS2D"),
            ),
            "stir": Protocol(
                "t2_tirm_cor_obl",
                ("SE", "IR"),
                ("SK", "SP", "MP"),
                ("IR",),
                "*tir2d1_11",
                11,
                (*_M, "NORM", "DIS2D"),
            ),
        },
    ),
    "philips": VendorProfile(
        "Philips Medical Systems",
        "Phantom Ingenia",
        "5.3.1",
        {
            "t1": Protocol(
                "T1W_TSE cor", ("SE",), ("SK",), ("FC",), None, 4, (*_M, "SE", "M", "SE")
            ),
            "stir": Protocol(
                "STIR cor", ("IR",), ("SK",), ("OTHER",), None, 12, (*_M, "IR", "M", "IR")
            ),
        },
    ),
    "ge": VendorProfile(
        "GE MEDICAL SYSTEMS",
        "Phantom Discovery",
        "DV26",
        {
            "t1": Protocol(
                "Cor T1 FSE",
                ("SE",),
                ("SK",),
                ("FAST_GEMS", "NPW"),
                None,
                3,
                ("ORIGINAL", "PRIMARY", "OTHER"),
            ),
            "stir": Protocol(
                "Cor STIR",
                ("SE", "IR"),
                ("SK",),
                ("FAST_GEMS", "NPW"),
                None,
                10,
                ("ORIGINAL", "PRIMARY", "OTHER"),
            ),
        },
    ),
    "canon": VendorProfile(
        "CANON_MEC",
        "Phantom Vantage",
        "V6.0",
        {
            "t1": Protocol("T1 FSE Cor", ("SE",), ("SK",), (), "FSE2D", 2, (*_M,)),
            "stir": Protocol("STIR Cor", ("SE", "IR"), ("SK",), (), "FIR", 10, (*_M,)),
        },
    ),
}


def derived_uid(*parts: object) -> UID:
    """A reproducible UID under 2.25, derived from the parts."""
    return UID(f"2.25.{uuid5(NAMESPACE_OID, '/'.join(map(str, parts))).int}")


def write_study(
    case: PhantomCase,
    folder: Path,
    *,
    patient_id: str = "",
    patient_name: str = "",
    study_uid: str | None = None,
    vendor: str = "siemens",
    enhanced: bool = False,
    extra_localiser: bool = True,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> list[Path]:
    """Write a study of a T1, a STIR and optionally a localiser series.

    Parameters
    ----------
    folder
        Created if it does not exist; files are numbered from 00001.dcm.
    patient_id, patient_name
        Empty: derived from the seed, so that each seed is a patient of its own. The birth date
        follows from the ID.
    study_uid
        None derives it from seed, vendor and type of object.
    enhanced
        One Enhanced MR object per sequence instead of one classic MR image per slice.
    transfer_syntax
        Explicit or Implicit VR Little Endian, or a compression that pydicom can write.

    Returns
    -------
    list of Path
        The files in the order in which a scanner sends them.

    Raises
    ------
    ValueError
        If the vendor is unknown.
    """
    if vendor not in VENDORS:
        raise ValueError(f"vendor must be one of {', '.join(VENDORS)}, not {vendor!r}")
    folder.mkdir(parents=True, exist_ok=True)
    uid = UID(study_uid or derived_uid("study", case.seed, vendor, enhanced))
    common = _Common(
        case,
        uid,
        VENDORS[vendor],
        patient_id or f"PHANTOM-{case.seed}",
        patient_name or f"Phantom^Seed {case.seed}",
    )
    written = []
    for number, dataset in enumerate(_instances(common, enhanced, extra_localiser), start=1):
        path = folder / f"{number:05d}.dcm"
        _save(dataset, path, UID(transfer_syntax))
        written.append(path)
    return written


@dataclass(frozen=True, eq=False)
class _Common:
    """Attributes common to all instances of a study."""

    case: PhantomCase
    study_uid: UID
    profile: VendorProfile
    patient_id: str
    patient_name: str

    @property
    def day(self) -> str:
        return (date(2021, 1, 4) + timedelta(days=self.case.seed % 1000)).strftime("%Y%m%d")

    @property
    def birth_date(self) -> str:
        """From 1940 to 1999; the same for the same patient ID."""
        days = int(sha256(self.patient_id.encode()).hexdigest(), 16) % (60 * 365)
        return (date(1940, 1, 1) + timedelta(days=days)).strftime("%Y%m%d")

    def timing(self, contrast: Contrast) -> dict[str, float]:
        """Field strength and times of a sequence, as numbers."""
        return cast(dict[str, float], self.case.parameters[contrast])


def _instances(common: _Common, enhanced: bool, extra_localiser: bool) -> Iterator[Dataset]:
    if extra_localiser:
        yield from _localiser(common)
    volumes: dict[Contrast, Volume] = {"t1": common.case.t1, "stir": common.case.stir}
    for number, (contrast, volume) in enumerate(volumes.items(), start=2):
        if enhanced:
            yield _enhanced(common, contrast, volume, number)
        else:
            yield from _classic(common, contrast, volume, number)


def _save(dataset: Dataset, path: Path, transfer_syntax: UID) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = derived_uid("phantom writer")
    meta.ImplementationVersionName = "SIJ_PHANTOM"
    native = transfer_syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    meta.TransferSyntaxUID = transfer_syntax if native else ExplicitVRLittleEndian
    dataset.file_meta = meta
    if not native:
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _study_and_series(common: _Common, name: str, number: int, description: str) -> Dataset:
    """Patient, study, series, frame of reference and equipment."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = common.patient_name, common.patient_id
    ds.PatientBirthDate, ds.PatientSex = common.birth_date, "O"
    ds.StudyInstanceUID = common.study_uid
    ds.StudyDate = ds.SeriesDate = common.day
    ds.StudyTime, ds.SeriesTime = "101500", f"10{20 + number:02d}00"
    ds.ReferringPhysicianName, ds.AccessionNumber = "", ""
    ds.StudyID, ds.StudyDescription = str(common.case.seed), "MRI sacroiliac joints (phantom)"
    ds.Modality, ds.PatientPosition = "MR", "HFS"
    ds.SeriesInstanceUID = derived_uid(common.study_uid, "series", name)
    ds.SeriesNumber, ds.SeriesDescription = number, description
    ds.ProtocolName, ds.BodyPartExamined = description, "PELVIS"
    ds.FrameOfReferenceUID = derived_uid(common.study_uid, "frame of reference")
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer = common.profile.manufacturer
    ds.ManufacturerModelName = common.profile.model
    ds.SoftwareVersions, ds.DeviceSerialNumber = common.profile.software, "00000"
    return ds


def _stored_bits(volume: Volume) -> int:
    """12 as on most scanners, or more if a value needs it."""
    return 12 if volume.voxels.max() < 4096 else 16


def _pixels(ds: Dataset, pixels: NDArray[np.uint16], stored_bits: int = 12) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, stored_bits, stored_bits - 1
    ds.PixelRepresentation = 0
    ds.PixelData = pixels.astype("<u2").tobytes()


def _ds(values: Iterable[float]) -> list[str]:
    """Decimal strings (DS) of at most 16 characters."""
    return [format_number_as_ds(float(value)) for value in values]


def _orientation(affine: NDArray[np.float64]) -> list[str]:
    """Direction cosines of the row, then of the column."""
    along_row = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    along_column = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    return _ds([*along_row, *along_column])


def _window(ds: Dataset, voxels: NDArray[np.float32]) -> None:
    high = float(np.quantile(voxels[..., ::4, ::4], 0.99))
    ds.WindowCenter, ds.WindowWidth = str(round(high / 2)), str(max(round(high), 1))


def _timing(ds: Dataset, timing: dict[str, float], protocol: Protocol) -> None:
    ds.ScanningSequence = list(protocol.scanning_sequence)
    ds.SequenceVariant = list(protocol.sequence_variant)
    ds.ScanOptions = list(protocol.scan_options)
    ds.MRAcquisitionType = "2D"
    if protocol.sequence_name:
        ds.SequenceName = protocol.sequence_name
    ds.RepetitionTime = str(round(timing["repetition_ms"]))
    ds.EchoTime = str(round(timing["echo_ms"]))
    if timing["inversion_ms"] is not None:
        ds.InversionTime = str(round(timing["inversion_ms"]))
    ds.EchoTrainLength = protocol.echo_train
    ds.MagneticFieldStrength = f"{timing['field_t']:g}"
    ds.ImagingFrequency = f"{42.577 * timing['field_t']:.4f}"
    ds.ImagedNucleus, ds.NumberOfAverages, ds.FlipAngle = "1H", "1", "150"


def _classic(common: _Common, contrast: Contrast, volume: Volume, number: int) -> Iterator[Dataset]:
    protocol = common.profile.protocols[contrast]
    timing = common.timing(contrast)
    slice_mm, row_mm, column_mm = volume.spacing_mm
    for index, plane in enumerate(volume.voxels):
        ds = _study_and_series(common, contrast, number, protocol.description)
        ds.SOPClassUID = MRImageStorage
        ds.SOPInstanceUID = derived_uid(ds.SeriesInstanceUID, index)
        ds.ImageType = list(protocol.image_type)
        ds.InstanceNumber, ds.AcquisitionNumber = index + 1, 1
        ds.AcquisitionDate = ds.ContentDate = common.day
        ds.AcquisitionTime = ds.ContentTime = f"10{20 + number:02d}{index % 60:02d}"
        _timing(ds, timing, protocol)
        ds.SliceThickness = format_number_as_ds(timing["thickness_mm"])
        ds.SpacingBetweenSlices = format_number_as_ds(slice_mm)
        ds.PixelSpacing = _ds([row_mm, column_mm])
        ds.ImageOrientationPatient = _orientation(volume.affine)
        position = volume.to_patient([index, 0, 0])
        ds.ImagePositionPatient = _ds(position)
        normal = volume.affine[:3, 0] / slice_mm
        ds.SliceLocation = format_number_as_ds(float(position @ normal))
        _window(ds, volume.voxels)
        _pixels(ds, plane.astype(np.uint16), _stored_bits(volume))
        yield ds


_PLANES = {
    "sagittal": (np.array([0.0, 1, 0]), np.array([0.0, 0, -1])),
    "coronal": (np.array([1.0, 0, 0]), np.array([0.0, 0, -1])),
    "axial": (np.array([1.0, 0, 0]), np.array([0.0, 1, 0])),
}


def _localiser(common: _Common) -> Iterator[Dataset]:
    """Three coarse orthogonal images from the T1 volume."""
    volume, size, step_mm = common.case.t1, 128, 2.5
    middle = volume.to_patient((np.array(volume.voxels.shape) - 1) / 2)
    at = (np.arange(size) - (size - 1) / 2) * step_mm
    for index, (along_row, along_column) in enumerate(_PLANES.values()):
        grid = middle + at[:, None, None] * along_column + at[None, :, None] * along_row
        where = np.moveaxis(volume.to_indices(grid), -1, 0)
        picture = map_coordinates(volume.voxels, where, order=1)
        ds = _study_and_series(common, "localiser", 1, "localizer")
        ds.SOPClassUID = MRImageStorage
        ds.SOPInstanceUID = derived_uid(ds.SeriesInstanceUID, index)
        ds.ImageType = list(_M)
        ds.InstanceNumber, ds.AcquisitionNumber = index + 1, 1
        ds.AcquisitionDate = ds.ContentDate = common.day
        ds.AcquisitionTime = ds.ContentTime = f"1016{index:02d}"
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
        ds.MRAcquisitionType, ds.SequenceName = "2D", "*fl2d1"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = "8.6", "4", 1
        ds.FlipAngle = "20"
        ds.MagneticFieldStrength = f"{common.timing('t1')['field_t']:g}"
        ds.SliceThickness, ds.SpacingBetweenSlices = "7", "14"
        ds.PixelSpacing = _ds([step_mm, step_mm])
        ds.ImageOrientationPatient = _ds([*along_row, *along_column])
        ds.ImagePositionPatient = _ds(grid[0, 0])
        _window(ds, picture)
        _pixels(ds, np.clip(np.rint(picture), 0, 4095).astype(np.uint16))
        yield ds


def _item(**attributes: object) -> Dataset:
    """A sequence item with these attributes."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _enhanced(common: _Common, contrast: Contrast, volume: Volume, number: int) -> Dataset:
    """One Enhanced MR object with per-frame functional groups."""
    protocol, timing = common.profile.protocols[contrast], common.timing(contrast)
    ds = _study_and_series(common, contrast, number, protocol.description)
    ds.SOPClassUID = EnhancedMRImageStorage
    ds.SOPInstanceUID = derived_uid(ds.SeriesInstanceUID, "enhanced")
    ds.InstanceNumber, ds.AcquisitionNumber = 1, 1
    ds.ContentDate, ds.ContentTime = common.day, f"10{20 + number:02d}00"
    ds.AcquisitionDateTime = f"{common.day}10{20 + number:02d}00"
    _enhanced_image(ds, contrast, timing)
    _pulse_sequence(ds, contrast, protocol)
    organisation = derived_uid(ds.SeriesInstanceUID, "dimensions")
    ds.DimensionOrganizationSequence = Items([_item(DimensionOrganizationUID=organisation)])
    ds.DimensionIndexSequence = Items(
        _item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel=label,
        )
        for pointer, label in ((0x00209056, "Stack ID"), (0x00209057, "Position in stack"))
    )
    ds.AcquisitionContextSequence = Items([])
    ds.SharedFunctionalGroupsSequence = Items([_shared(common, contrast, volume)])
    ds.PerFrameFunctionalGroupsSequence = Items(
        _frame(ds.AcquisitionDateTime, volume, index) for index in range(len(volume.voxels))
    )
    ds.NumberOfFrames = len(volume.voxels)
    _pixels(ds, volume.voxels.astype(np.uint16), _stored_bits(volume))
    return ds


def _enhanced_image(ds: Dataset, contrast: Contrast, timing: dict[str, float]) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", contrast.upper(), "NONE"]
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique, ds.ComplexImageComponent = "NONE", "MAGNITUDE"
    ds.AcquisitionContrast = contrast.upper()
    ds.AcquisitionDuration = 180.0
    ds.ContentQualification, ds.ResonantNucleus = "RESEARCH", "1H"
    ds.KSpaceFiltering, ds.MagneticFieldStrength = "NONE", timing["field_t"]
    ds.ApplicableSafetyStandardAgency = "IEC"
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"


def _pulse_sequence(ds: Dataset, contrast: Contrast, protocol: Protocol) -> None:
    ds.PulseSequenceName = protocol.sequence_name or protocol.description
    ds.MRAcquisitionType, ds.EchoPulseSequence = "2D", "SPIN"
    ds.MultipleSpinEcho, ds.MultiPlanarExcitation = "YES", "NO"
    ds.PhaseContrast, ds.TimeOfFlightContrast = "NO", "NO"
    ds.SteadyStatePulseSequence, ds.EchoPlanarPulseSequence = "NONE", "NO"
    ds.SaturationRecovery, ds.SpectrallySelectedSuppression = "NO", "NONE"
    ds.OversamplingPhase, ds.GeometryOfKSpaceTraversal = "NONE", "RECTILINEAR"
    ds.RectilinearPhaseEncodeReordering = "LINEAR"
    ds.SegmentedKSpaceTraversal = "PARTIAL"
    ds.NumberOfKSpaceTrajectories = 1


def _shared(common: _Common, contrast: Contrast, volume: Volume) -> Dataset:
    """Functional groups that all frames share."""
    timing, protocol = common.timing(contrast), common.profile.protocols[contrast]
    group = Dataset()
    group.PixelMeasuresSequence = Items([_pixel_measures(timing, volume)])
    group.PlaneOrientationSequence = Items(
        [_item(ImageOrientationPatient=_orientation(volume.affine))]
    )
    region = _code("12921003", "SCT", "Pelvis")
    group.FrameAnatomySequence = Items(
        [_item(FrameLaterality="B", AnatomicRegionSequence=Items([region]))]
    )
    group.FrameVOILUTSequence = Items([Dataset()])
    _window(group.FrameVOILUTSequence[0], volume.voxels)
    group.PixelValueTransformationSequence = Items(
        [_item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")]
    )
    group.MRImageFrameTypeSequence = Items([_frame_type(contrast)])
    group.MRTimingAndRelatedParametersSequence = Items([_timing_item(timing, protocol)])
    group.MREchoSequence = Items([_item(EffectiveEchoTime=float(round(timing["echo_ms"])))])
    group.MRModifierSequence = Items([_modifier(timing)])
    group.MRImagingModifierSequence = Items([_imaging_modifier(timing)])
    group.MRFOVGeometrySequence = Items([_field_of_view(volume)])
    group.MRAveragesSequence = Items([_item(NumberOfAverages="1")])
    _coils(group, common.profile)
    return group


def _pixel_measures(timing: dict[str, float], volume: Volume) -> Dataset:
    slice_mm, row_mm, column_mm = volume.spacing_mm
    return _item(
        SliceThickness=format_number_as_ds(timing["thickness_mm"]),
        SpacingBetweenSlices=format_number_as_ds(slice_mm),
        PixelSpacing=_ds([row_mm, column_mm]),
    )


def _frame_type(contrast: Contrast) -> Dataset:
    return _item(
        FrameType=["ORIGINAL", "PRIMARY", contrast.upper(), "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast=contrast.upper(),
    )


def _imaging_modifier(timing: dict[str, float]) -> Dataset:
    return _item(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=42.577 * timing["field_t"],
        PixelBandwidth=200.0,
    )


def _field_of_view(volume: Volume) -> Dataset:
    _, rows, columns = volume.voxels.shape
    return _item(
        InPlanePhaseEncodingDirection="ROW",
        MRAcquisitionFrequencyEncodingSteps=columns,
        MRAcquisitionPhaseEncodingStepsInPlane=rows,
        MRAcquisitionPhaseEncodingStepsOutOfPlane=1,
        PercentSampling="100",
        PercentPhaseFieldOfView="100",
    )


def _timing_item(timing: dict[str, float], protocol: Protocol) -> Dataset:
    return _item(
        RepetitionTime=str(round(timing["repetition_ms"])),
        FlipAngle="90",
        EchoTrainLength=protocol.echo_train,
        RFEchoTrainLength=protocol.echo_train,
        GradientEchoTrainLength=0,
        OperatingModeSequence=Items(
            [
                _item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL"),
                _item(OperatingModeType="RF", OperatingMode="IEC_NORMAL"),
                _item(OperatingModeType="GRADIENT", OperatingMode="IEC_NORMAL"),
            ]
        ),
        SpecificAbsorptionRateSequence=Items(
            [
                _item(
                    SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY",
                    SpecificAbsorptionRateValue=1.0,
                )
            ]
        ),
        GradientOutputType="DB_DT",
        GradientOutput=10.0,
    )


def _modifier(timing: dict[str, float]) -> Dataset:
    inverted = timing["inversion_ms"] is not None
    item = _item(
        InversionRecovery="YES" if inverted else "NO",
        FlowCompensation="NONE",
        Spoiling="NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )
    if inverted:
        item.InversionTimes = float(round(timing["inversion_ms"]))
    return item


def _coils(group: Dataset, profile: VendorProfile) -> None:
    element = _item(MultiCoilElementName="SP1", MultiCoilElementUsed="YES")
    receive = _item(
        ReceiveCoilName="Spine",
        ReceiveCoilManufacturerName=profile.manufacturer,
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=Items([element]),
    )
    transmit = _item(
        TransmitCoilName="Body",
        TransmitCoilManufacturerName=profile.manufacturer,
        TransmitCoilType="BODY",
    )
    group.MRReceiveCoilSequence, group.MRTransmitCoilSequence = Items([receive]), Items([transmit])


def _frame(moment: str, volume: Volume, index: int) -> Dataset:
    content = _item(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime=moment,
        FrameAcquisitionDateTime=moment,
        FrameAcquisitionDuration=180.0,
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
    )
    position = _item(ImagePositionPatient=_ds(volume.to_patient([index, 0, 0])))
    return _item(FrameContentSequence=Items([content]), PlanePositionSequence=Items([position]))
