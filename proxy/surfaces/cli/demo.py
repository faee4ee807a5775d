"""`tidegate demo`: the whole thing in one terminal."""

import sys
from pathlib import Path

import click


@click.command(name="demo")
@click.option("--duration", type=click.FloatRange(min=1), help="Seconds until it ends by itself.  [default: at Ctrl-C]")
@click.option("--plain", is_flag=True, help="Lines instead of a live display; the default where there is no terminal.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the last picture to this file.")
def command(duration: float | None, plain: bool, svg: Path | None) -> None:
    """Three tiny upstreams, a shadow, the proxy and some traffic, in one terminal.

    The demo raises a canary by editing its weight in the YAML file, as you would, and shows what each version and each
    user sees of it. Everything runs on 127.0.0.1 and ends with the command.

    \b
    Example:
      tidegate demo
      tidegate demo --duration 20 --plain
    """
    from rich.console import Console
    from rich.live import Live

    from proxy.surfaces.demo.screen import Moment, line, picture
    from proxy.surfaces.demo.story import DemoError, play

    last: list[Moment] = []
    glances = 0
    live = None if plain or not sys.stdout.isatty() else Live(auto_refresh=False, screen=False)

    def show(moment: Moment) -> None:
        nonlocal glances
        last[:] = [moment]
        glances += 1
        if live is None and glances % 4 == 1:  # every other second
            click.echo(line(moment))
        elif live is not None:
            live.update(picture(moment), refresh=True)

    def tell(chapter: str) -> None:
        if live is None:
            click.echo(f"\n{chapter}")

    try:
        if live is None:
            play(duration, show, tell)
        else:
            with live:
                play(duration, show, tell)
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    if live is None and last and glances % 4 != 1:  # what came of it, in any case
        click.echo(line(last[0]))
    if svg is not None and last:
        import io
        import re

        console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
        console.print(picture(last[0]))
        # Without the fonts that rich would have a browser fetch from elsewhere.
        drawn = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="tidegate demo"), flags=re.DOTALL)
        svg.write_text(drawn)
