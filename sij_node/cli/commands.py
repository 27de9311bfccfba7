"""The command line `sij-node`.

Exit status: 0 done, 2 and 64 wrong usage, 65 to 78 as in `sij_node.errors`.
"""

import getpass
import os
import resource
import sys

import typer

from sij_node.cli import (
    copy_commands,
    destination_commands,
    job_commands,
    maintenance_commands,
    process_commands,
    study_commands,
    user_commands,
)
from sij_node.cli.renamed_commands import (
    RENAMED_COMMANDS,
    RENAMED_DESTINATION_COMMANDS,
    refuse_renamed,
)
from sij_node.errors import NodeError

_NO_PERMISSION = 77
_NO_CORE_DUMP = 1
"""Limit in bytes; unlike 0, it also stops dumps that the kernel pipes to a program (core(5))."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A PACS node for MRI of the sacroiliac joints. Trained on phantoms, not for clinical use.",
)
for _module in (process_commands, study_commands, maintenance_commands):
    app.add_typer(_module.app)
app.add_typer(job_commands.app, name="jobs")
app.add_typer(copy_commands.app, name="copies")
app.add_typer(destination_commands.app, name="destinations")
app.add_typer(user_commands.app, name="users")
refuse_renamed(app, RENAMED_COMMANDS)
refuse_renamed(destination_commands.app, RENAMED_DESTINATION_COMMANDS)


def keep_patients_private() -> None:
    """No core dumps, which would contain patients, and files for this user only."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else _NO_CORE_DUMP
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    os.umask(0o077)


def main() -> None:
    """Run a command of the command line."""
    keep_patients_private()
    run_command()


def run_command() -> None:
    """Run a command; an error of the node becomes one line and an exit status."""
    try:
        app()
    except NodeError as error:
        print(f"sij-node: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except PermissionError as error:
        if error.filename is None:
            raise
        print(  # noqa: T201
            f"sij-node: User {getpass.getuser()} has no access to {error.filename}: "
            f"{error.strerror}. Use a path that this user can access.",
            file=sys.stderr,
        )
        sys.exit(_NO_PERMISSION)
