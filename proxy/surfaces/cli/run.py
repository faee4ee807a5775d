"""`tidegate run`: become the guardian, which starts the control process. Imports next to nothing before that."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from proxy.control.app import Control, OpenPorts
    from proxy.control.errand import Errand
    from proxy.control.ports import Ports
    from proxy.settings.models.top import Settings


@click.command(
    "run",
    epilog="Example: tidegate run -c config/tidegate.yaml. Exit codes: 0 drained, 1 the configuration is wrong, 2 usage.",
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default="config/tidegate.yaml",
    show_default=True,
    help="The YAML.",
)
@click.option("--no-guardian", is_flag=True, help="Run without the first process that restarts control when it dies.")
@click.option(
    "--line", type=int, default=-1, hidden=True, help="Descriptor of the line to the guardian that started us."
)
@click.option("--run-dir", type=click.Path(path_type=Path), hidden=True, help="Whatever the configuration says.")
@click.option("--succeed", is_flag=True, hidden=True, help="Take the place of the control process that runs there.")
def command(config: Path, run_dir: Path | None, line: int, *, no_guardian: bool, succeed: bool) -> None:
    """Start the proxy and serve until SIGTERM or SIGINT.

    SIGHUP reads the configuration again, SIGUSR1 opens the access log anew.
    """
    from proxy.control.process import raise_descriptor_limit

    raise_descriptor_limit()
    if line >= 0:
        sys.exit(_upgraded(config, run_dir, line, succeed=succeed))
    if no_guardian:
        sys.exit(_control(config))
    from proxy.control.guardian import Guardian

    sys.exit(Guardian(lambda errand: _control(config, errand), _say).run())


def _control(config: Path, errand: "Errand | None" = None) -> int:
    from proxy.control.errand import ALONE
    from proxy.control.start import run_control

    return run_control(config, _find_ports, os.environ, errand or ALONE)


def _upgraded(config: Path, run_dir: Path | None, line: int, *, succeed: bool) -> int:
    """Be the control process of a guardian that is an earlier program's."""
    import socket

    from proxy.control.errand import Errand, Line
    from proxy.control.start import run_control

    end = socket.socket(fileno=line)
    end.set_inheritable(False)
    errand = Errand(line=Line(end, os.getppid()))
    return run_control(config, _find_ports, os.environ, errand, run_dir=run_dir, succeed=succeed)


def _find_ports() -> "OpenPorts":
    from proxy.surfaces.admin.guard import Token
    from proxy.surfaces.admin.serve import AdminSettings, start_admin

    async def open_ports(control: "Control", settings: "Settings") -> "Ports":
        admin = settings.admin
        tls = (admin.tls.certificate, admin.tls.key) if admin.tls else None
        tokens = tuple(Token(token) for token in admin.tokens)
        return await start_admin(control, AdminSettings(admin.address, settings.metrics, tokens, tls))

    return open_ports


def _say(level: str, message: str) -> None:
    """One line of the guardian's, in the shape of all others."""
    import time

    from proxy.telemetry.logs import LogWriter

    LogWriter(sys.stderr, style="auto", clock=time.time).line(level, message, logger="tidegate.guardian")
