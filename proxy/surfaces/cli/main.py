"""The command `tidegate`: a group whose commands are imported when they are asked for, so that `run` stays small."""

import importlib
from typing import Final

import click

from proxy.surfaces.cli.version import version_line

COMMANDS: Final = {
    "run": ("proxy.surfaces.cli.run", "Start the proxy."),
    "demo": ("proxy.surfaces.cli.demo", "Three tiny upstreams, a shadow, the proxy and some traffic, in one terminal."),
    "upgrade": ("proxy.surfaces.cli.upgrade", "Replace a running proxy by this program without losing a request."),
    "validate": ("proxy.surfaces.cli.validate", "Check a configuration and list all that is wrong."),
    "explain": ("proxy.surfaces.cli.explain", "Why a unit gets the version it gets."),
    "rollout": ("proxy.surfaces.cli.rollout", "Where rollouts are and why; pause, resume, approve, abort and more."),
    "weights": ("proxy.surfaces.cli.weights", "Weights in the file and in force; setting them by hand."),
    "exposures": ("proxy.surfaces.cli.exposures", "Who got which version, when and why; forget one unit."),
    "flags": ("proxy.surfaces.cli.flags", "Flags of another system, as a piece of configuration."),
    "diff": ("proxy.surfaces.cli.diff", "What changes between two configurations, and what share of units moves."),
    "schema": ("proxy.surfaces.cli.schema", "Print the JSON Schema of the configuration."),
    "version": ("proxy.surfaces.cli.version", "Print the version, and whether the hot modules are compiled."),
}
"""Name to the module whose `command` it is, and its line in `tidegate --help`."""


class LazyGroup(click.Group):
    """Imports a command's module when the command is used; the help of the group needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)  # noqa: S101 - every module of the table has one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `tidegate --help`, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version_line(), "--version", message="%(version)s")
def tidegate() -> None:
    """A programmable traffic-shifting reverse proxy for progressive delivery.

    \b
    Example:
      tidegate run -c config/tidegate.yaml
    """
