"""Writes a phantom to a folder: DICOM files as sent by a scanner, and the truth as JSON."""

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from models.delineation import Delineation
from models.volume import Volume
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case

Vendor = Literal["siemens", "philips", "ge", "canon"]


def contours_mm(volume: Volume, delineation: Delineation) -> list[dict[str, object]]:
    """Contours as JSON: slice, side and LPS points in mm, superior to inferior."""
    return [
        {
            "slice": contour.slice_index,
            "side": str(contour.side),
            "points_mm": np.round(
                volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1)), 3
            ).tolist(),
        }
        for contour in delineation.contours
    ]


def truth(case: PhantomCase) -> dict[str, object]:
    """The truth of a case as JSON: 28 grades, contours of both series, parameters."""
    return {
        "seed": case.seed,
        "severity": {str(position): grade for position, grade in case.severity.items()},
        "contours": {
            "t1": contours_mm(case.t1, case.t1_truth),
            "stir": contours_mm(case.stir, case.stir_truth),
        },
        "parameters": case.parameters,
    }


def phantom(
    out: Annotated[Path, typer.Option(help="Output folder for dicom/ and truth.json.")],
    seed: Annotated[int, typer.Option(help="Seed of the patient.")] = 7,
    vendor: Annotated[str, typer.Option(help="siemens, philips, ge or canon.")] = "siemens",
    enhanced: Annotated[bool, typer.Option(help="Enhanced MR, one file per series.")] = False,
    disease: Annotated[str, typer.Option(help="early, mixed, advanced or balanced.")] = "mixed",
    patient_id: Annotated[str, typer.Option(help="PatientID; default: by the seed.")] = "",
    patient_name: Annotated[str, typer.Option(help="PatientName; default: by the seed.")] = "",
    without_joints: Annotated[bool, typer.Option(help="Images without the joints.")] = False,
    style: Annotated[str, typer.Option(help="plain, plausible, randomised or any.")] = "plain",
) -> None:
    """Write one simulated study as DICOM files, with its truth. Not for clinical use."""
    from trainer.phantom.dicom_files import write_study  # noqa: PLC0415  pydicom only where needed

    options = PhantomOptions(disease=disease, without_joints=without_joints, style=style)
    case = make_case(seed, options)
    written = write_study(
        case,
        out / "dicom",
        patient_id=patient_id,
        patient_name=patient_name,
        vendor=vendor,
        enhanced=enhanced,
    )
    (out / "truth.json").write_text(json.dumps(truth(case), indent=1), encoding="utf-8")
    typer.echo(f"{len(written)} files in {out / 'dicom'}; truth in {out / 'truth.json'}")
