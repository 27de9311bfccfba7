"""The laboratory's command line; each sub-command is a function of the module that does it."""

import typer

from trainer.benchmark import benchmark
from trainer.detectability import detectability
from trainer.encoder_import import import_encoder
from trainer.evaluation.contours import evaluate_contour
from trainer.evaluation.lesions import evaluate_lesion
from trainer.evaluation.second import evaluate_second
from trainer.nifti import import_nifti
from trainer.own_cases import import_cases
from trainer.phantom.export import phantom
from trainer.phantom.sheet import contact_sheet
from trainer.readers.run import readers, trials
from trainer.train import calibrate, train

app = typer.Typer(help="Phantoms, training and evaluation.", no_args_is_help=True)
app.command()(phantom)
app.command()(contact_sheet)
app.command()(detectability)
app.command()(train)
app.command()(calibrate)
app.command()(benchmark)
app.command()(import_encoder)
app.command()(import_nifti)
app.command()(import_cases)
app.command()(trials)
app.command()(readers)

evaluate = typer.Typer(help="Measure a network on its test cases.", no_args_is_help=True)
evaluate.command("contour")(evaluate_contour)
evaluate.command("lesion")(evaluate_lesion)
evaluate.command("second")(evaluate_second)
app.add_typer(evaluate, name="evaluate")


@app.callback()
def laboratory() -> None:
    """Phantoms, training and evaluation. Nothing made here is for clinical use."""


if __name__ == "__main__":
    app()
