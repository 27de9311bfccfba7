"""`doctor`, `check-config`, `migrate`, `test-alerts` and other commands for running a node."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from sij_node import __version__
from sij_node.cli import opening
from sij_node.cli.options import DEFAULT_CONFIG, AsJson, AsWide, ConfigFile, Limit
from sij_node.cli.output import print_json, print_line, print_table, time_of
from sij_node.config.settings import Config, listing, load_config
from sij_node.doctor.assessments import exit_code
from sij_node.doctor.local_checks import local_checks
from sij_node.doctor.run_checks import run_checks
from sij_node.domain.health import Component, Condition, HealthStatus
from sij_node.domain.storage_check import CheckedFiles
from sij_node.errors import ConfigurationInvalid, NodeError, TemporarilyUnavailable
from sij_node.logs import configure_logging
from sij_node.operate.alert_channels import send_test
from sij_node.processes import assembly

app = typer.Typer()
MAY_RETURN = (Component.DISK, Component.DATABASE)
"""Components that may become available without a change of config.toml."""


@app.command("check-config")
def check_config(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Report everything that keeps the node from starting, or print all effective settings.

    Checks config.toml, and on this machine folders, database, certificates, secrets, ports and
    weights; `doctor` also checks all other systems. Exit status: 0 if the node can start, 75 if
    only a disk or a database is unavailable, 78 otherwise.
    """
    settings = load_config(config)
    found = tuple(local_checks(settings, config))
    failures = [one for one in found if one.status is HealthStatus.FAILED]
    if failures:
        raise _not_startable(config, failures)
    if as_json:
        return print_json(settings.model_dump(mode="json"))
    print_line(f"{config} is valid: {settings.node.ae_title}, {len(settings.peer)} peer(s).")
    for one in found:
        if one.status is HealthStatus.WARNING:
            print_line(f"warning: {one.message} {one.action}")


def _not_startable(config: Path, failures: Sequence[Condition]) -> NodeError:
    message = listing(config, [f"{one.message} {one.action}".strip() for one in failures])
    is_temporary = all(one.component in MAY_RETURN for one in failures)
    return TemporarilyUnavailable(message) if is_temporary else ConfigurationInvalid(message)


@app.command()
def migrate(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Migrate the database, or create it; make a backup first."""
    schema = assembly.migrate(load_config(config))
    print_line(f"{schema.place} has schema {schema.newest}.")


@app.command()
def conformance(
    config: ConfigFile = DEFAULT_CONFIG,
    out: Annotated[Path | None, typer.Option(help="Output file; default: standard output.")] = None,
) -> None:
    """Write the DICOM conformance statement of this node, as Markdown."""
    text = opening.on_demand("conformance").statement(load_config(config))
    if out is None:
        print(text, end="")  # noqa: T201
    else:
        out.write_text(text, encoding="utf-8")


@app.command()
def doctor(
    config: ConfigFile = DEFAULT_CONFIG,
    quick: Annotated[bool, typer.Option("--quick", help="Skip networks and test study.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything the node depends on, and recommend what to do.

    Exit status: 0 all OK, 1 warnings only; otherwise the first failure: 10 configuration,
    11 disk, 12 database, 13 TLS, 14 network, 15 neural networks, 16 clock, 17 study.
    """
    conditions = []
    configure_logging("json")
    console = Console(highlight=False)
    for condition in run_checks(config, None if quick else _check_networks):
        conditions.append(condition)
        if not as_json:
            console.print(_check_line(condition), soft_wrap=True)
    if as_json:
        print_json([asdict(one) for one in conditions])
    raise typer.Exit(exit_code(conditions))


def _check_networks(config: Config, name: str) -> str:
    named: str = opening.on_demand("processes.offline_analysis").check_networks(config, name)
    return named


def _check_line(one: Condition) -> Text:
    colour = {"ok": "green", "warning": "yellow", "failed": "bold red"}[one.status]
    line = Text.assemble((f"{one.status:8}", colour), f"{one.component:16}", one.message)
    if one.action:
        line.append(f"\n{'':24}→ {one.action}", style="bold")
    return line


@app.command()
def rejected(
    config: ConfigFile = DEFAULT_CONFIG,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_wide: AsWide = False,
) -> None:
    """List rejected instances and associations, with the reasons."""
    with opening.admin(config) as admin:
        rows = admin.refusals(limit)
    if as_json:
        return print_json([asdict(row) for row in rows])
    print_table(
        ["time", "from", "address", "status", "reason", "quarantined as"],
        [
            [
                time_of(row.at),
                row.source_ae,
                row.address,
                row.outcome,
                row.explanation,
                row.quarantined_as[:16],
            ]
            for row in rows
        ],
        is_wide=as_wide,
    )


@app.command()
def changes(
    config: ConfigFile = DEFAULT_CONFIG,
    who: Annotated[str, typer.Option(help="Only entries of this user.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
    as_wide: AsWide = False,
) -> None:
    """List the change log: what users changed, searched for, viewed or downloaded."""
    with opening.admin(config) as admin:
        rows = admin.changes(limit, who)
    if as_json:
        return print_json([asdict(row) for row in rows])
    print_table(
        ["time", "user", "action", "subject", "note"],
        [[time_of(row.at), row.who, row.action, row.subject, row.note] for row in rows],
        is_wide=as_wide,
    )


@app.command()
def verify(
    config: ConfigFile = DEFAULT_CONFIG,
    check_only: Annotated[bool, typer.Option("--check-only", help="Repair nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare all stored files with the database and their digests, and repair what can be.

    What is left is listed with what to do. The node may run meanwhile. Exit status: 0 if
    everything is in order or was repaired, 1 otherwise.
    """
    settings = load_config(config)
    parts = opening.on_demand("processes.listener_process").verify(
        settings, opening.os_user(), repairs=not check_only
    )
    checked = CheckedFiles()
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as progress:
        for part in progress.track(parts, total=256, description="Checking stored files"):
            checked += part
    if as_json:
        print_json(asdict(checked))
    else:
        _print_checked(checked)
    raise typer.Exit(int(bool(checked.problems)))


def _print_checked(checked: CheckedFiles) -> None:
    for repair in checked.repairs:
        print_line(f"repaired  {repair.message}")
    for problem in checked.problems:
        print_line(f"{problem.fault:10}{problem.message}\n          → {problem.action}")
    print_line(
        f"{checked.files} files ({checked.size_bytes / 1e6:.1f} MB) verified, "
        f"{len(checked.repairs)} repaired, {len(checked.problems)} need attention."
    )


@app.command("test-alerts")
def send_test_notification(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Send a test notification by e-mail and webhook, where configured."""
    names = send_test(load_config(config))
    if not names:
        raise ConfigurationInvalid(
            f"{config} has neither [alerts.email] nor [alerts.webhook]: no alerts are sent."
        )
    print_line(f"Sent by {' and '.join(names)}.")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)  # noqa: T201
