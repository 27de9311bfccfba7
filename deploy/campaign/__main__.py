"""`make campaign`: kill, cut and load a node, judge it, and write the figures to docs."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.bench.system_info import system_info
from deploy.campaign.kills import judge, kill_at_random
from deploy.campaign.reliability_page import figures_section, replace_figures
from deploy.campaign.soak import soak
from deploy.trial import prefer_programs_of_the_system

DEFAULT_FOLDER = Path("campaign-output")


def main(
    kills: Annotated[int, typer.Option(help="Random kills over all processes.")] = 200,
    minutes: Annotated[float, typer.Option(help="The kills end after this time.")] = 60,
    instances: Annotated[int, typer.Option(help="Instances of the soak.")] = 20_000,
    folder: Annotated[Path, typer.Option(help="Data; an interrupted campaign continues.")] = (
        DEFAULT_FOLDER
    ),
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 1,
    page: Annotated[Path, typer.Option(help="Page whose figures are replaced.")] = Path(
        "docs/reliability.md"
    ),
) -> None:
    """Run the campaign; exit status 1 if a promise was broken."""
    prefer_programs_of_the_system()
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "figures.json"
    figures = json.loads(done.read_text("utf-8")) if done.exists() else {}
    system = system_info(folder)
    command = " ".join(["python -m deploy.campaign", *sys.argv[1:]])
    if "kills" not in figures:
        done_to_it = kill_at_random(folder / "kills", kills, minutes * 60, seed)
        figures["kills"] = dict(vars(done_to_it))
        done.write_text(json.dumps(figures, indent=1), "utf-8")
    figures["violations"] = judge(folder / "kills")
    if "soak" not in figures:
        figures["soak"] = asdict(soak(folder / "soak", instances, seed))
        done.write_text(json.dumps(figures, indent=1), "utf-8")
    section = figures_section(figures, system, command)
    page.write_text(replace_figures(page.read_text("utf-8"), section), "utf-8")
    typer.echo(section)
    broken = figures["violations"]
    raise typer.Exit(int(bool(broken or figures["soak"]["acknowledged"] < figures["soak"]["sent"])))


if __name__ == "__main__":
    typer.run(main)
