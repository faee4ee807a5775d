"""`tidegate upgrade`: have a running proxy go on as the program that this command belongs to, without losing a request."""

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from proxy.surfaces.cli.loading import DEFAULT_PATH, counted, show_problems

_LOOK: Final = 0.1  # seconds between two looks at how far the new program is
_BEYOND: Final = 20.0  # seconds that an old program has to be itself again after the limit


@click.command("upgrade")
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    help=f"The configuration file. [default: the running one's, or {DEFAULT_PATH}]",
)
@click.option("--run-dir", metavar="DIR", help="The run directory, where the configuration alone does not lead to it.")
@click.option(
    "--limit",
    type=click.FloatRange(1, 86400),
    default=60.0,
    show_default=True,
    help="Seconds until the new program must serve.",
)
def command(path: str | None, run_dir: str | None, limit: float) -> None:
    """Replace a running proxy by this program, on the same sockets and counters.

    The configuration is checked by this program first; when it has errors, nothing is touched. When this program does
    not serve within the limit, the old one goes on. Run it as the same user, or as root.

    Exits with 0 when this program serves and the old one's workers have drained, with 1 when the old one goes on.

    \b
    Example:
      /opt/tidegate-new/bin/tidegate upgrade -c config/tidegate.yaml
    """
    from proxy.control.desk import UpgradeError

    try:
        _upgrade(path, run_dir, limit)
    except UpgradeError as error:
        click.secho(str(error), fg="red", err=True)
        sys.exit(1)


def _upgrade(path: str | None, run_dir: str | None, limit: float) -> None:
    from proxy.control.desk import Conversation, UpgradeError

    where, status = _find(Path(path or DEFAULT_PATH), run_dir)
    if not status["guardian"]:
        raise UpgradeError("it runs without a guardian: have its own supervisor start the new program instead")
    config = Path(path).absolute() if path else Path(status["file"])
    environ = _environ_of(status["guardian"])
    _check(config, environ)
    conversation = Conversation(where)
    with contextlib.closing(conversation):
        conversation.ask("upgrade", request=_request(config, where, environ, limit))
        click.echo(f"process {status['pid']} is asked to make way")
        begun = time.monotonic()
        try:
            told = conversation.hear(limit + _BEYOND)
        except TimeoutError as error:
            raise UpgradeError("nothing came of it, and nobody says why; see the log") from error
    if told is not None:
        raise UpgradeError(f"{told['failed']}\nthe old program goes on")
    _watch(where, status["pid"], begun + limit + _BEYOND)


def _find(config: Path, run_dir: str | None) -> tuple[Path, dict[str, Any]]:
    """The run directory at whose desk somebody answers, and what is said there."""
    from proxy.control.desk import Conversation, UpgradeError
    from proxy.control.run_dir import default_run_dir
    from proxy.settings.loader import load
    from proxy.settings.problems import SettingsError

    candidates = [Path(run_dir)] if run_dir else []
    if not candidates:
        with contextlib.suppress(SettingsError):
            settings = load(config, os.environ).settings
            candidates += [Path(settings.run_dir)] if settings.run_dir else []
        candidates.append(default_run_dir(config, os.environ))
    for candidate in candidates:
        with contextlib.suppress(OSError):
            conversation = Conversation(candidate.absolute())
            with contextlib.closing(conversation):
                return candidate.absolute(), conversation.ask("status")
    raise UpgradeError(
        f"no running proxy answers in {' or '.join(str(one) for one in candidates)}; "
        "name its run directory (--run-dir), and be the user that runs it"
    )


def _environ_of(pid: int) -> Mapping[str, str]:
    """The environment of a process: the new program will have it, so the configuration is checked with it."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in (pair.partition(b"=") for pair in pairs) if key}


def _check(config: Path, environ: Mapping[str, str]) -> None:
    from proxy.settings.loader import load
    from proxy.settings.problems import SettingsError

    try:
        load(config, environ)
    except SettingsError as error:
        show_problems([*error.problems, *error.warnings], error.sources)
        click.echo(f"{counted(error.problems, error.warnings)}; nothing was touched", err=True)
        sys.exit(1)


def _request(config: Path, run_dir: Path, environ: Mapping[str, str], limit: float) -> dict[str, Any]:
    """How the guardian starts this program (control/guardian.py: Program)."""
    from proxy.form import search_path

    return {
        "command": [sys.executable, "-P", "-m", "proxy", "run", "-c", str(config), "--run-dir", str(run_dir)],
        "first": ["--succeed"],
        "environ": {"PYTHONPATH": search_path(environ)},
        "limit": limit,
    }


def _watch(run_dir: Path, before: int, due: float) -> None:
    """Follow the new program until nothing is left of the old one, whose control process was `before`."""
    from proxy.control.desk import Conversation, UpgradeError
    from proxy.control.process import birth

    serves = False
    born = birth(before)
    while time.monotonic() < due:
        time.sleep(_LOOK)
        try:
            conversation = Conversation(run_dir)
        except OSError:
            continue  # nobody has the desk for a moment
        with contextlib.closing(conversation):
            try:
                status = conversation.ask("status")
            except (OSError, UpgradeError):
                continue
        if status["failure"]:
            raise UpgradeError(f"{status['failure']}\nthe old program goes on")
        if status["pid"] == before or not status["upgraded"]:
            continue
        if not serves:
            serves = True
            due = time.monotonic() + status["drain_limit"] + _BEYOND
            click.echo(
                f"process {status['pid']} has taken over: {status['serving']} workers serve, "
                f"{status['draining']} of the old program drain (at most {status['drain_limit']:g} s)"
            )
        if not status["draining"] and (born is None or birth(before) != born):
            click.echo("the old program is gone")
            return
    what = "the old program is gone" if serves else "it serves"
    raise UpgradeError(f"the new program has taken over and does not say that {what}; see the log")
