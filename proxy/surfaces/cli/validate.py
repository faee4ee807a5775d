"""`tidegate validate`: is this configuration fine, and if not, everything that is wrong with it."""

import click

from proxy.surfaces.cli.loading import config_option, counted, load_or_exit, print_json, problems_value, show_problems


@click.command("validate")
@config_option()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(path: str, *, as_json: bool) -> None:
    """Check a configuration and list all that is wrong.

    Exits with 0 when it is fine (warnings are fine) and with 1 when it has errors.

    \b
    Example:
      tidegate validate -c config/tidegate.yaml
    """
    loaded = load_or_exit(path, as_json=as_json)
    if as_json:
        print_json(problems_value(path, [], loaded.warnings))
        return
    show_problems(loaded.warnings, loaded.sources)
    spec = loaded.spec
    parts = f"{_many(len(spec['routes']), 'route')}, {_many(len(spec['upstreams']), 'upstream')}"
    tail = f" ({counted([], loaded.warnings).partition(', ')[2]})" if loaded.warnings else ""
    click.echo(f"{path} is fine: {parts}{tail}")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
