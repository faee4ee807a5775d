"""A configuration for a command: loaded, or its problems shown and the command over with code 1."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import click

from proxy.settings.loader import Loaded, load
from proxy.settings.problems import ERROR, Problem, SettingsError, excerpt

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_PATH: Final = "config/tidegate.yaml"


def config_option() -> Callable[[Command], Command]:
    """The option -c, the same everywhere."""
    return click.option(
        "-c",
        "--config",
        "path",
        default=DEFAULT_PATH,
        show_default=True,
        metavar="FILE",
        help="The configuration file.",
    )


def load_or_exit(path: str, *, as_json: bool = False) -> Loaded:
    """The configuration in `path`. When it has errors they are printed and the command ends with code 1."""
    try:
        return load(path, os.environ)
    except SettingsError as error:
        if as_json:
            print_json(problems_value(path, error.problems, error.warnings))
        else:
            show_problems([*error.problems, *error.warnings], error.sources)
            click.echo(counted(error.problems, error.warnings), err=True)
        sys.exit(1)


def problems_value(path: str, errors: Iterable[Problem], warnings: Iterable[Problem]) -> dict[str, Any]:
    """What --json prints about a configuration with its problems."""
    listed = [one.as_dict() for one in errors]
    return {
        "file": path,
        "valid": not listed,
        "errors": listed,
        "warnings": [one.as_dict() for one in warnings],
    }


def show_problems(problems: Iterable[Problem], sources: Mapping[str, str]) -> None:
    """Problems on standard error: a line each, and the line of the file it is about."""
    for problem in problems:
        click.secho(problem.line(), fg="red" if problem.severity == ERROR else "yellow", err=True)
        for line in excerpt(problem, sources.get(problem.place.file)):
            click.secho(line, dim=True, err=True)


def counted(errors: list[Problem], warnings: list[Problem]) -> str:
    """The last line: how many of each."""
    pieces = [f"{len(errors)} error{'' if len(errors) == 1 else 's'}"]
    if warnings:
        pieces.append(f"{len(warnings)} warning{'' if len(warnings) == 1 else 's'}")
    return ", ".join(pieces)


def print_json(value: Any) -> None:
    """A value on standard output as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
