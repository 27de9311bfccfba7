"""MR images to send, of realistic size and header length, each under a new UID.

A server does less work for a known UID, so every run needs new ones. The files are written once;
between runs only the digits of their UIDs are replaced, in place.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

PER_STUDY = 40
_SIZE_PX = 512
_PRIVATE_TEXTS = 34
_PRIVATE_BLOCK_BYTES = 30_000
_DIGITS = 37
_STUDY, _SERIES, _INSTANCE = (f"2.25.{kind}{'0' * _DIGITS}" for kind in (1, 2, 3))


@dataclass(frozen=True)
class Instances:
    """Files of equal content with different UIDs.

    Parameters
    ----------
    places
        Offset of each UID's digits in the file, and whether it is the SOP Instance UID.
    """

    files: tuple[Path, ...]
    places: tuple[tuple[int, bool], ...]

    def renew(self) -> None:
        """Assign new SOP Instance UIDs, and a new study and series to every forty files."""
        for number, file in enumerate(self.files):
            if number % PER_STUDY == 0:
                study = _digits()
            self._write(file, study, _digits())

    def _write(self, file: Path, study: bytes, instance: bytes) -> None:
        descriptor = os.open(file, os.O_WRONLY)
        try:
            for place, is_instance in self.places:
                os.pwrite(descriptor, instance if is_instance else study, place)
        finally:
            os.close(descriptor)

    def first(self, count: int) -> "Instances":
        """The first `count` files."""
        return Instances(self.files[:count], self.places)

    def divided(self, parts: int) -> list[Sequence[Path]]:
        """The files in `parts` equal parts."""
        each = len(self.files) // parts
        return [self.files[each * part : each * (part + 1)] for part in range(parts)]


def make_instances(folder: Path, count: int) -> Instances:
    """Write images of 512 x 512 pixels of 16 bits with about 120 elements."""
    folder.mkdir(parents=True)
    content = _part10(mr_image())
    files = tuple(folder / f"{number:04d}.dcm" for number in range(count))
    for file in files:
        file.write_bytes(content)
    made = Instances(files, tuple(_places(content)))
    made.renew()
    return made


def _digits() -> bytes:
    return b"%0*d" % (_DIGITS, secrets.randbelow(10**_DIGITS))


def _places(content: bytes) -> list[tuple[int, bool]]:
    found = []
    for uid in (_STUDY, _SERIES, _INSTANCE):
        at = content.find(uid.encode())
        while at >= 0:
            found.append((at + len(uid) - _DIGITS, uid == _INSTANCE))
            at = content.find(uid.encode(), at + 1)
    return found


def mr_image() -> Dataset:
    """An MR image with the header of a scanner's, including private elements."""
    image = Dataset()
    _describe(image)
    _add_private_elements(image)
    noise = np.random.default_rng(1).integers(0, 4096, (_SIZE_PX, _SIZE_PX), np.uint16)
    image.Rows = image.Columns = _SIZE_PX
    image.PixelData = noise.tobytes()
    image["PixelData"].VR = "OW"
    return image


def _describe(image: Dataset) -> None:
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, _INSTANCE
    image.StudyInstanceUID, image.SeriesInstanceUID = _STUDY, _SERIES
    image.FrameOfReferenceUID = "2.25.4"
    for keyword, value in _ATTRIBUTES.items():
        setattr(image, keyword, value)


_ATTRIBUTES: dict[str, object] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"],
    **dict.fromkeys(
        ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"),
        "20260102",
    ),
    **dict.fromkeys(
        ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"),
        "101112.500000",
    ),
    "AccessionNumber": "A1",
    "Modality": "MR",
    "Manufacturer": "Bench",
    "InstitutionName": "Bench",
    "ReferringPhysicianName": "",
    "StationName": "MR1",
    "StudyDescription": "MRI sacroiliac joints",
    "SeriesDescription": "t1_tse_cor_obl",
    "ManufacturerModelName": "Bench",
    "PatientName": "Bench^Phantom",
    "PatientID": "BENCH",
    "PatientBirthDate": "19850101",
    "PatientSex": "O",
    "PatientAge": "041Y",
    "PatientWeight": "70",
    "BodyPartExamined": "PELVIS",
    "ScanningSequence": "SE",
    "SequenceVariant": ["SK", "SP", "OSP"],
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "SequenceName": "*tse2d1_3",
    "AngioFlag": "N",
    "SliceThickness": "4",
    "RepetitionTime": "600",
    "EchoTime": "10",
    "NumberOfAverages": "2",
    "ImagingFrequency": "63.8655",
    "ImagedNucleus": "1H",
    "EchoNumbers": "1",
    "MagneticFieldStrength": "1.5",
    "SpacingBetweenSlices": "4.4",
    "NumberOfPhaseEncodingSteps": "512",
    "EchoTrainLength": "3",
    "PercentSampling": "100",
    "PercentPhaseFieldOfView": "100",
    "PixelBandwidth": "200",
    "DeviceSerialNumber": "00000",
    "SoftwareVersions": "1",
    "ProtocolName": "t1_tse_cor_obl",
    "TransmitCoilName": "Body",
    "AcquisitionMatrix": [0, 512, 512, 0],
    "InPlanePhaseEncodingDirection": "COL",
    "FlipAngle": "150",
    "VariableFlipAngleFlag": "N",
    "SAR": "1.2",
    "PatientPosition": "HFS",
    "StudyID": "1",
    "SeriesNumber": "3",
    "AcquisitionNumber": "1",
    "InstanceNumber": "1",
    "ImagePositionPatient": ["-150", "-60", "150"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"],
    "PositionReferenceIndicator": "",
    "SliceLocation": "12.5",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": ["0.6", "0.6"],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "WindowCenter": "600",
    "WindowWidth": "1200",
}


def _add_private_elements(image: Dataset) -> None:
    """Add private elements: short texts and two long binary blocks."""
    block = image.private_block(0x0029, "BENCH HEADER", create=True)
    for number in range(_PRIVATE_TEXTS):
        block.add_new(number, "LO", f"value {number}")
    for number in (0xF0, 0xF1):
        block.add_new(number, "OB", bytes(_PRIVATE_BLOCK_BYTES))


def _part10(image: Dataset) -> bytes:
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = MRImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = UID(_INSTANCE)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()
