"""Command line of the training package; each command is a function of the module behind it."""

import typer

from trainer.contours.export_joint import export_joint
from trainer.contours.train_joint import train_joint
from trainer.evaluation.benchmark import benchmark
from trainer.evaluation.evaluate_contour import evaluate_contour
from trainer.evaluation.evaluate_lesion import evaluate_lesion
from trainer.evaluation.evaluate_phantoms import evaluate_phantoms
from trainer.evaluation.evaluate_real import evaluate_real
from trainer.evaluation.evaluate_second import evaluate_second
from trainer.imports.import_nifti import import_nifti
from trainer.imports.site_cases import import_cases
from trainer.imports.spinenet_encoder import import_encoder
from trainer.phantom.contact_sheet import contact_sheet
from trainer.phantom.detectability import detectability
from trainer.phantom.draw_slabs import draw_slabs
from trainer.phantom.phantom_command import phantom
from trainer.reader_study.reader_commands import readers, trials
from trainer.train import calibrate, train

app = typer.Typer(help="Phantoms, training and evaluation.", no_args_is_help=True)
app.command()(phantom)
app.command()(contact_sheet)
app.command()(detectability)
app.command()(train)
app.command()(draw_slabs)
app.command()(train_joint)
app.command()(export_joint)
app.command()(calibrate)
app.command()(benchmark)
app.command()(import_encoder)
app.command()(import_nifti)
app.command()(import_cases)
app.command()(trials)
app.command()(readers)

evaluate = typer.Typer(help="Evaluate a network on its test cases.", no_args_is_help=True)
evaluate.command("contour")(evaluate_contour)
evaluate.command("lesion")(evaluate_lesion)
evaluate.command("phantoms")(evaluate_phantoms)
evaluate.command("real")(evaluate_real)
evaluate.command("second")(evaluate_second)
app.add_typer(evaluate, name="evaluate")


@app.callback()
def training_package() -> None:
    """Phantoms, training and evaluation. Not for clinical use."""


if __name__ == "__main__":
    app()
