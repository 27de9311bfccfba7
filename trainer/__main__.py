"""The laboratory's command line; each sub-command is a function of the module that does it."""

import typer

from trainer.benchmark import benchmark
from trainer.phantom.export import phantom
from trainer.train import evaluate, train

app = typer.Typer(help="Phantoms, training and evaluation.", no_args_is_help=True)
app.command()(phantom)
app.command()(train)
app.command()(evaluate)
app.command()(benchmark)


@app.callback()
def laboratory() -> None:
    """Phantoms, training and evaluation. Nothing made here is for clinical use."""


if __name__ == "__main__":
    app()
