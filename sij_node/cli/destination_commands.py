"""`destinations ...`: hold and release destinations, send withheld results."""

from dataclasses import asdict
from typing import Annotated

import typer

from sij_node.cli import opening
from sij_node.cli.options import DEFAULT_CONFIG, AsJson, AsWide, ConfigFile, Title
from sij_node.cli.output import print_json, print_line, print_table
from sij_node.errors import DestinationUnavailable

app = typer.Typer(no_args_is_help=True, help="List, test, hold and release destinations.")


@app.command("list")
def list_destinations(
    config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, as_wide: AsWide = False
) -> None:
    """List destinations with holds and pending results."""
    with opening.admin(config) as admin:
        found = admin.destinations()
    if as_json:
        return print_json([asdict(one) for one in found])
    print_table(
        ["destination", "jobs pending", "withheld", "remarks"],
        [
            [one.ae_title, str(one.waiting), str(one.withheld), "; ".join(one.remarks)]
            for one in found
        ],
        is_wide=as_wide,
    )


@app.command("test")
def check_destination(title: Title, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Test the connection to a peer, by C-ECHO, or to a destination."""
    with opening.admin(config) as admin:
        error = admin.echo(title)
    if error:
        raise DestinationUnavailable(error)
    print_line(f"{title} responded.")


@app.command("hold")
def hold_destination(
    ae_title: Title,
    reason: Annotated[str, typer.Option(help="Shown wherever the hold is shown.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Hold a destination: its results stay pending until it is released."""
    with opening.admin(config) as admin:
        print_line(f"{admin.hold(ae_title, reason)}.")


@app.command("release")
def release_destination(ae_title: Title, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Release a destination: its pending results are sent."""
    with opening.admin(config) as admin:
        admin.release_hold(ae_title)
    print_line(f"{ae_title} is no longer held.")


@app.command("send-withheld")
def send_withheld(ae_title: Title, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Send results withheld in shadow mode: the newest of each study."""
    with opening.admin(config) as admin:
        jobs = admin.send_withheld(ae_title)
    print_line(f"The results of {len(jobs)} studies will be sent to {ae_title}.")
