"""`tidegate version`: which one, on what, and whether its hot modules are compiled."""

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from proxy.form import compiled


def version_line() -> str:
    """Version, form, and the Python that runs it."""
    try:
        number = version("tidegate")
    except PackageNotFoundError:
        number = "(not installed)"
    form = "compiled" if compiled() else "interpreted"
    return f"tidegate {number}, {form}, Python {platform.python_version()}"


@click.command("version")
def command() -> None:
    """Print the version, and whether the hot modules are compiled or interpreted.

    \b
    Example:
      tidegate version
    """
    click.echo(version_line())
