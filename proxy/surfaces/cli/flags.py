"""`tidegate flags import`: flags of another system in our words."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from proxy.flags.flagd import Imported


@click.group("flags")
def command() -> None:
    """Flags: bring them in from another system."""


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_command(file: Path) -> None:
    """Print the flags of a flagd FILE (JSON or YAML) as a piece of configuration.

    What cannot be said is told on standard error and left out; the exit code is then 1.

    \b
    Example:
      tidegate flags import flagd.json > flags.yaml
    """
    from proxy.flags.flagd import CannotSayError, notes_of

    try:
        imported = _imported(file)
        _check(imported)
    except CannotSayError as error:
        raise click.ClickException(str(error)) from None
    for note in notes_of(imported):
        click.echo(note, err=True)
    click.echo(_yaml({"flags": imported.flags}), nl=False)
    sys.exit(1 if imported.left_out else 0)


def _imported(file: Path) -> "Imported":
    from proxy.flags.flagd import CannotSayError, import_flagd
    from proxy.settings.source import parse_document

    data = file.read_bytes()
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        document = parse_document(str(file), data, {})
        if document.problems:
            raise CannotSayError(document.problems[0].line()) from None
        values = document.values
    try:
        return import_flagd(values if isinstance(values, dict) else {})
    except CannotSayError as error:
        raise CannotSayError(f"{file}: {error}") from None


def _check(imported: "Imported") -> None:
    """Leave out what the configuration would refuse: names, values, ranges of versions."""
    from pydantic import ValidationError
    from pydantic_core import PydanticCustomError

    from proxy.settings.models.flags import Flag
    from proxy.settings.scalars import parse_name

    for name, flag in list(imported.flags.items()):
        try:
            parse_name(name)
            Flag.model_validate(flag)
        except ValidationError as error:
            imported.left_out[name] = error.errors()[0]["msg"]
        except PydanticCustomError as error:
            imported.left_out[name] = error.message()
        if name in imported.left_out:
            del imported.flags[name]
            imported.notes.pop(name, None)


def _yaml(values: Any) -> str:
    """YAML that the loader reads back: texts in quotes, `${` doubled."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """All texts in quotes: what is a word in one YAML is a number in another."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        plain = value.isascii() and value.isalpha() and value.lower() not in ("true", "false", "null")
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')

    Dumper.add_representer(str, text)
    Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
    written: str = yaml.dump(_escaped(values), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return written


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
