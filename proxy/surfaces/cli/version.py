"""`tidegate version`: which one, on what, and whether its hot modules are compiled."""

import platform
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version

import click

from proxy import errors


def form() -> str:
    """`compiled` or `interpreted`: what the hot modules are. They are all one or all the other (proxy/wheel.py)."""
    return "compiled" if (errors.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES)) else "interpreted"


def version_line() -> str:
    """Version, form, and the Python that runs it."""
    try:
        number = version("tidegate")
    except PackageNotFoundError:
        number = "(not installed)"
    return f"tidegate {number}, {form()}, Python {platform.python_version()}"


@click.command("version")
def command() -> None:
    """Print the version, and whether the hot modules are compiled or interpreted.

    \b
    Example:
      tidegate version
    """
    click.echo(version_line())
