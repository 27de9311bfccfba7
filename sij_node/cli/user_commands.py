"""`users ...`: manage the accounts of web pages and API."""

from pathlib import Path
from typing import Annotated

import typer

from sij_node.cli.opening import authentication, os_user
from sij_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, UserName
from sij_node.cli.output import print_json, print_table, time_of
from sij_node.config.settings import load_config
from sij_node.config.user_roles import Role

app = typer.Typer(no_args_is_help=True, help="Manage user accounts.")


@app.command("add")
def add_user(
    name: UserName,
    role: Annotated[Role, typer.Option(help="Role of the user.")] = Role.VIEWER,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Add a user and print the link for setting the password."""
    with authentication(config) as accounts:
        _print_invitation(config, accounts.add(name, role, os_user()))


@app.command("reset")
def reset_user(name: UserName, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Print a new link for setting a password; the old password works until then."""
    with authentication(config) as accounts:
        _print_invitation(config, accounts.invite_again(name, os_user()))


@app.command("list")
def list_users(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the users."""
    with authentication(config) as accounts:
        users = accounts.users()
    if as_json:
        return print_json(
            [{"name": user.name, "role": user.role, "status": user.status} for user in users]
        )
    print_table(
        ["name", "role", "status", "since"],
        [[user.name, user.role, user.status, time_of(user.created_at)] for user in users],
    )


@app.command("role")
def change_role(
    name: UserName,
    role: Annotated[Role, typer.Argument(help="New role.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Change the role of a user."""
    with authentication(config) as accounts:
        accounts.set_role(name, role, os_user())


@app.command("disable")
def disable_user(name: UserName, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Disable a user at once; sessions and API tokens end."""
    with authentication(config) as accounts:
        accounts.disable(name, os_user())


@app.command("enable")
def enable_user(name: UserName, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Enable a disabled user."""
    with authentication(config) as accounts:
        accounts.enable(name, os_user())


def _print_invitation(config: Path, secret: str) -> None:
    link = load_config(config).web.invitation_url(secret)
    print(f"Set the password within 24 hours: {link}")  # noqa: T201
