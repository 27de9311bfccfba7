"""Command line of the training package; each command is a function of the module behind it.

Exit status: 0 done, 2 wrong usage, 65 unusable input, 66 file not accessible, 69 optional
dependency missing, 78 unusable weights.
"""

import sys

import typer

from models.case_file import CaseFileInvalid
from models.weights import WeightsInvalid
from trainer.contours.export_joint import export_joint
from trainer.contours.fine_tune import fine_tune
from trainer.contours.phantom_stacks import draw_stacks
from trainer.contours.train_joint import train_joint
from trainer.errors import TrainingInputInvalid
from trainer.evaluation.benchmark import benchmark
from trainer.evaluation.evaluate_certainty import evaluate_certainty
from trainer.evaluation.evaluate_contour import evaluate_contour
from trainer.evaluation.evaluate_geometry import evaluate_geometry
from trainer.evaluation.evaluate_lesion import evaluate_lesion
from trainer.evaluation.evaluate_oedema import evaluate_oedema
from trainer.evaluation.evaluate_phantoms import evaluate_phantoms
from trainer.evaluation.evaluate_real import evaluate_real
from trainer.evaluation.evaluate_realism import evaluate_realism
from trainer.evaluation.evaluate_second import evaluate_second
from trainer.export_onnx import export_onnx
from trainer.imports.import_images import (
    import_images,
    import_manifest,
    refuse_import_nifti,
)
from trainer.imports.reading_template import reading_template
from trainer.imports.site_cases import import_cases
from trainer.imports.spinenet_encoder import import_encoder
from trainer.lesion_folds import cross_validate
from trainer.phantom.contact_sheet import contact_sheet
from trainer.phantom.detectability import detectability
from trainer.phantom.draw_slabs import draw_slabs
from trainer.phantom.phantom_command import phantom
from trainer.reader_study.reader_commands import readers, trials
from trainer.sign_weights import sign_weights
from trainer.train import calibrate, train

app = typer.Typer(
    help="Phantoms, training and evaluation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(phantom)
app.command()(contact_sheet)
app.command()(detectability)
app.command()(train)
app.command()(draw_slabs)
app.command()(draw_stacks)
app.command()(train_joint)
app.command()(export_joint)
app.command()(fine_tune)
app.command()(cross_validate)
app.command()(calibrate)
app.command()(benchmark)
app.command()(import_encoder)
app.command()(export_onnx)
app.command()(sign_weights)
app.command()(import_images)
app.command()(import_manifest)
app.command(
    "import-nifti",
    hidden=True,
    context_settings={"ignore_unknown_options": True},
)(refuse_import_nifti)
app.command()(reading_template)
app.command()(import_cases)
app.command()(trials)
app.command()(readers)

EXTRAS = {
    "matplotlib": "training",
    "nibabel": "training",
    "nrrd": "training",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
}
"""Packages that some commands need, and the extra that they belong to."""

evaluate = typer.Typer(help="Evaluate a network on its test cases.", no_args_is_help=True)
evaluate.command("certainty")(evaluate_certainty)
evaluate.command("contour")(evaluate_contour)
evaluate.command("geometry")(evaluate_geometry)
evaluate.command("lesion")(evaluate_lesion)
evaluate.command("phantoms")(evaluate_phantoms)
evaluate.command("real")(evaluate_real)
evaluate.command("oedema")(evaluate_oedema)
evaluate.command("realism")(evaluate_realism)
evaluate.command("second")(evaluate_second)
app.add_typer(evaluate, name="evaluate")


@app.callback()
def training_package() -> None:
    """Phantoms, training and evaluation. Not for clinical use."""


def main() -> None:
    """Run a command; an expected error becomes one line and an exit status."""
    try:
        app()
    except (TrainingInputInvalid, CaseFileInvalid) as error:
        _fail(str(error), 65)
    except WeightsInvalid as error:
        _fail(str(error), 78)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _fail(f"{package} is not installed; run: pip install 'sij-node[{EXTRAS[package]}]'", 69)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}", 66)


def _fail(message: str, status: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
