"""`tidegate diff`: what a new file changes, told before it does."""

import click

from proxy.settings.changes import compare
from proxy.surfaces.cli.loading import load_or_exit, print_json


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def command(old: str, new: str, *, as_json: bool) -> None:
    """What changes from OLD to NEW, and what share of units moves, by route.

    Exits with 0 whether or not something changes, and with 1 when one of the files has errors.

    \b
    Example:
      tidegate diff config/tidegate.yaml /tmp/tidegate.yaml
    """
    before = load_or_exit(old, as_json=as_json)
    after = load_or_exit(new, as_json=as_json)
    changes = compare(before.spec, after.spec, before.settings, after.settings, (before.lists, after.lists))
    if as_json:
        print_json(changes.as_dict())
    elif changes:
        for line in changes.lines:
            click.echo(line)
    else:
        click.echo("nothing changes")
