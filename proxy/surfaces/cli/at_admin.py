"""What commands that ask the admin port share: its options, the client, and an end with words where it says no."""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from proxy.surfaces.cli.loading import config_option

Command = TypeVar("Command", bound=Callable[..., Any])


def asks_admin(command: Command) -> Command:
    """The options that say whom to ask."""
    command = click.option("--admin", metavar="ADDRESS", help="The admin port, where -c does not lead to it.")(command)
    command = click.option(
        "--token",
        envvar="TIDEGATE_TOKEN",
        metavar="TOKEN",
        help="Its token. [default: the file's first; TIDEGATE_TOKEN]",
    )(command)
    return config_option()(command)


def open_client(path: str, admin: str | None, token: str | None) -> Any:
    """The client. Where nobody can be asked the command is over with code 1."""
    from proxy.surfaces.cli.admin_client import AdminClient, UnreachableError, place_of

    try:
        return AdminClient(place_of(path, admin, token))
    except UnreachableError as error:
        fail(str(error))


def ask_or_exit(client: Any, method: str, path: str, body: Any = None) -> Any:
    """What the admin port answers. Where it does not, or says no, the command is over with code 1."""
    from proxy.surfaces.cli.admin_client import RefusedError, UnreachableError

    try:
        return client.ask(method, path, body)
    except (RefusedError, UnreachableError) as error:
        fail(str(error))


def fail(message: str) -> Any:
    """Say it and end with code 1."""
    click.secho(message, fg="red", err=True)
    sys.exit(1)


def whoami() -> str:
    """Who asks, for the record."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
