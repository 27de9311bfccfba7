"""Phantom studies on disk, small enough to send and analyse often."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid

from models.volume import Volume
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case
from trainer.phantom.dicom_files import write_study

PATIENT_ID, PATIENT_NAME = "PHANTOM-7", "Phantom^Seven"
T1, STIR = 2, 3
"""Series numbers of a phantom study; 1 is the localiser."""


@dataclass(frozen=True)
class PhantomStudy:
    """The files of one study, in the order a scanner would send them."""

    study_uid: str
    files: Sequence[Path]

    def series_uid(self, number: int) -> str:
        """Series Instance UID of a series number."""
        return str(dcmread(self.files_of(number)[0], stop_before_pixels=True).SeriesInstanceUID)

    def files_of(self, *numbers: int) -> list[Path]:
        """The files of some series."""
        return [
            file
            for file in self.files
            if dcmread(file, specific_tags=["SeriesNumber"]).SeriesNumber in numbers
        ]

    def without_stir(self) -> "PhantomStudy":
        """The same study without its STIR series."""
        return replace(self, files=[f for f in self.files if f not in self.files_of(STIR)])


@cache
def drawn_case(seed: int, options: PhantomOptions) -> PhantomCase:
    """A phantom generated once for all tests and never changed."""
    return make_case(seed, options)


def small_case() -> PhantomCase:
    """A phantom with many lesions on few small images."""
    return drawn_case(7, PhantomOptions(slices=16, matrix=256, disease="advanced"))


def written(case: PhantomCase, folder: Path, **how: object) -> PhantomStudy:
    """Write a case as a separate study; `how` as for `write_study`."""
    study_uid = str(generate_uid(prefix=None))
    files = write_study(
        case,
        folder,
        study_uid=study_uid,
        patient_id=PATIENT_ID,
        patient_name=PATIENT_NAME,
        **how,
    )
    return PhantomStudy(study_uid, files)


def axial(case: PhantomCase) -> PhantomCase:
    """The same images, described as axial."""
    return replace(case, t1=_axial(case.t1), stir=_axial(case.stir))


def _axial(volume: Volume) -> Volume:
    slice_mm, row_mm, column_mm = volume.spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, column_mm], [0, row_mm, 0], [slice_mm, 0, 0]]
    return Volume(volume.voxels, affine)
