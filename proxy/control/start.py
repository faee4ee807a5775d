"""How the control process begins and with which code it ends: configuration, log and run directory, then `Control`."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import uvloop

from proxy.control.app import Control, FindPorts
from proxy.control.configuration import show_problems
from proxy.control.desk import ask_for_place, tell_failure
from proxy.control.errand import ALONE, Errand
from proxy.control.guardian import BAD_CONFIGURATION
from proxy.control.process import descriptor_limit
from proxy.control.run_dir import AlreadyRunningError, RunDir, RunDirError, default_run_dir
from proxy.errors import TidegateError
from proxy.settings.loader import Loader
from proxy.settings.models.top import Settings
from proxy.settings.problems import SettingsError
from proxy.telemetry.logs import install

log = logging.getLogger("tidegate.control")

_OTHER_DESCRIPTORS: Final = 256  # for upstreams, listeners, channels, logs
_LETTING_GO: Final = 5.0  # seconds for the end of a process that has handed over


def run_control(
    config: Path,
    find_ports: FindPorts,
    environ: Mapping[str, str],
    errand: Errand = ALONE,
    *,
    run_dir: Path | None = None,
    succeed: bool = False,
) -> int:
    """Be the control process. The exit code: 0 drained, 1 the configuration or its surroundings do not allow a start,
    `HANDED_OVER` when another took its place.

    `run_dir` is used whatever the configuration says. `succeed`: take the place of the control process that serves it.
    """
    writer = install(clock=time.time)
    loader = Loader(config, environ)
    try:
        loaded = loader.load()
    except SettingsError as error:
        show_problems(error)
        if succeed and run_dir is not None:
            tell_failure(run_dir, "\n".join(problem.line() for problem in error.problems))
        return BAD_CONFIGURATION
    writer = install(style=loaded.settings.log.format, level=loaded.settings.log.level, clock=time.time)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # that events came says nothing; what changed is said
    for warning in loaded.warnings:
        log.warning(warning.line())
    _warn_of_few_descriptors(loaded.settings)
    try:
        if succeed and run_dir is not None:
            find_ports()  # all that can be done beforehand: from here on the ports are closed until ours open
            ask_for_place(run_dir)
        ours = _take_run_dir(config, loaded.settings, environ, run_dir, _LETTING_GO if succeed else 0.0)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                control = Control(config, loader, loaded, ours, writer, errand=errand, succeeding=succeed)
                return runner.run(control.run(find_ports))
        finally:
            if ours is not None:
                ours.close()
    except TidegateError as error:
        log.error(str(error))
        return BAD_CONFIGURATION
    finally:
        writer.close()


def _warn_of_few_descriptors(settings: Settings) -> None:
    """Each client takes one, and its upstream's connection another; all clients may come to one worker."""
    allowed, there = settings.client.limits.connections, descriptor_limit()
    if there < allowed + _OTHER_DESCRIPTORS:
        log.warning(
            "client.limits.connections: %d clients may connect, and a process may open %d files (ulimit -Hn, LimitNOFILE=):"
            " with more clients than that, no upstream can be reached; allow more files or fewer clients",
            allowed,
            there,
        )


def _take_run_dir(
    config: Path, settings: Settings, environ: Mapping[str, str], given: Path | None, patience: float
) -> RunDir | None:
    """The run directory, or None with a warning where there can be none. Raises AlreadyRunningError when its lock is still
    held after `patience` seconds."""
    path = given or (Path(settings.run_dir) if settings.run_dir else default_run_dir(config, environ))
    end = time.monotonic() + patience
    while True:
        try:
            return RunDir(path.absolute())
        except AlreadyRunningError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.01)
        except RunDirError as error:
            log.warning("%s; if the control process dies, the next one cannot take the workers over", error)
            return None
