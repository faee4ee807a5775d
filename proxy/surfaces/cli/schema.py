"""`tidegate schema`: the JSON Schema of the configuration."""

import click

from proxy.settings.schema import schema_text


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the configuration (draft 2020-12), for editors.

    \b
    Example:
      tidegate schema > tidegate.schema.json
    and in the YAML file:
      # yaml-language-server: $schema=./tidegate.schema.json
    """
    click.echo(schema_text(), nl=False)
