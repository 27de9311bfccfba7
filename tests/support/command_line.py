"""The command line: within the tests' own process, or as a program of its own."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from sij_node.cli.commands import run_command

Argument = str | Path | int


def sij_node(*arguments: Argument, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself; in a process of its own, imports take seconds."""
    command = ["sij-node", *map(str, arguments)]
    out, err, status = StringIO(), StringIO(), 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, environment),
    ):
        try:
            run_command()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def sij_node_process(*arguments: Argument) -> subprocess.CompletedProcess[str]:
    """Run a command as an administrator does."""
    return subprocess.run(
        [sys.executable, "-m", "sij_node", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
