"""How commands open the node: configuration, administration, accounts, modules on demand."""

import getpass
import os
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from sij_node.config.settings import Config, load_config
from sij_node.logs import configure_logging
from sij_node.operate.admin import Admin
from sij_node.operate.authentication import Authentication
from sij_node.processes import assembly


def os_user() -> str:
    """Name of the user who runs this command, also through sudo."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def admin(config: Path) -> AbstractContextManager[Admin]:
    """Questions and actions in the name of this user."""
    return assembly.open_admin(load_config(config), os_user())


def authentication(config: Path) -> AbstractContextManager[Authentication]:
    """User accounts."""
    return assembly.open_authentication(load_config(config))


def with_logging(config: Path) -> Config:
    """Load the configuration and start logging as it says."""
    settings = load_config(config)
    configure_logging(settings.node.log_format)
    return settings


def on_demand(module: str) -> Any:
    """A module of the node that only some commands need, so that others stay small and quick.

    Parameters
    ----------
    module
        Below ``sij_node``, for instance ``processes.worker_process``. Some load torch or the web
        server.
    """
    return import_module(f"sij_node.{module}")
