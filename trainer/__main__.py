"""The laboratory's command line; each sub-command is a function of the module that does it."""

import typer

from trainer.benchmark import benchmark
from trainer.phantom.export import phantom
from trainer.readers.run import readers, trials
from trainer.train import calibrate, evaluate, train

app = typer.Typer(help="Phantoms, training and evaluation.", no_args_is_help=True)
app.command()(phantom)
app.command()(train)
app.command()(calibrate)
app.command()(evaluate)
app.command()(benchmark)
app.command()(trials)
app.command()(readers)


@app.callback()
def laboratory() -> None:
    """Phantoms, training and evaluation. Nothing made here is for clinical use."""


if __name__ == "__main__":
    app()
