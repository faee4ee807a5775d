"""How the control process begins and with which code it ends: configuration, log and run directory, then `Control`."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import uvloop

from proxy.control.app import Control, FindPorts, show_problems
from proxy.control.guardian import BAD_CONFIGURATION
from proxy.control.run_dir import RunDir, RunDirError, default_run_dir
from proxy.errors import TidegateError
from proxy.settings.loader import Loader
from proxy.settings.models.top import Settings
from proxy.settings.problems import SettingsError
from proxy.telemetry.logs import install

log = logging.getLogger("tidegate.control")


def run_control(config: Path, find_ports: FindPorts, environ: Mapping[str, str]) -> int:
    """Be the control process. The exit code: 0 drained, 1 the configuration or its surroundings do not allow a start."""
    writer = install(clock=time.time)
    loader = Loader(config, environ)
    try:
        loaded = loader.load()
    except SettingsError as error:
        show_problems(error)
        return BAD_CONFIGURATION
    writer = install(style=loaded.settings.log.format, level=loaded.settings.log.level, clock=time.time)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # that events came says nothing; what changed is said
    for warning in loaded.warnings:
        log.warning(warning.line())
    try:
        run_dir = _take_run_dir(config, loaded.settings, environ)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(Control(config, loader, loaded, run_dir, writer, environ).run(find_ports))
        finally:
            if run_dir is not None:
                run_dir.close()
    except TidegateError as error:
        log.error(str(error))
        return BAD_CONFIGURATION
    finally:
        writer.close()


def _take_run_dir(config: Path, settings: Settings, environ: Mapping[str, str]) -> RunDir | None:
    """The run directory, or None with a warning where there can be none. Raises AlreadyRunningError."""
    path = Path(settings.run_dir) if settings.run_dir else default_run_dir(config, environ)
    try:
        return RunDir(path.absolute())
    except RunDirError as error:
        log.warning("%s; if the control process dies, the next one cannot take the workers over", error)
        return None
