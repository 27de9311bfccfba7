"""Real images for evaluation, where a folder of them is at hand, and written as DICOM.

The folder is named by the environment variable `SIJ_REAL_FOLDER`; its layout is that of
``python -m trainer evaluate real``. Nothing of it is kept.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from models.delineation import Delineation
from models.volume import Volume
from tests.support.phantom_studies import PhantomStudy
from trainer.evaluation.real_scans import RealScan
from trainer.phantom.case import PhantomCase
from trainer.phantom.dicom_files import write_study

FOLDER = "SIJ_REAL_FOLDER"
NO_LINES = Delineation(())
TIMES = {
    "t1": {"repetition_ms": 600, "echo_ms": 8, "inversion_ms": None},
    "stir": {"repetition_ms": 4500, "echo_ms": 60, "inversion_ms": 150},
}


def real_folder(left_out: str) -> Path:
    """The folder of real images; without it the test is skipped with a warning of what it misses.

    Parameters
    ----------
    left_out
        What is not tested without the images.
    """
    where = os.environ.get(FOLDER)
    if not where:
        warnings.warn(f"{FOLDER} is not set: {left_out} NOT tested on real images", stacklevel=2)
        pytest.skip(f"{FOLDER} is not set: no real images here")
    return Path(where)


def written_scans(scans: Sequence[RealScan], folder: Path) -> PhantomStudy:
    """One patient's T1, and STIR where there is one, as a scanner would send them."""
    volumes = {scan.kind: _stored(scan.volume) for scan in scans}
    t1 = volumes["T1W"]
    case = PhantomCase(
        seed=int(scans[0].case),
        t1=t1,
        stir=volumes.get("STIR", t1),
        t1_truth=NO_LINES,
        stir_truth=NO_LINES,
        severity={},
        parameters={
            kind: {"field_t": 1.5, "thickness_mm": t1.spacing_mm[0], **times}
            for kind, times in TIMES.items()
        },
        patient=None,
    )
    uid = str(generate_uid(prefix=None))
    files = write_study(
        case, folder, study_uid=uid, patient_id=scans[0].case, patient_name="Evaluation"
    )
    study = PhantomStudy(uid, files)
    return study if "STIR" in volumes else study.without_stir()


def _stored(volume: Volume) -> Volume:
    """As whole numbers, which DICOM needs."""
    return Volume(np.rint(volume.voxels.clip(min=0)), volume.affine)
