"""A control process for tests to kill: says on stdout what it runs, then serves until it is ended.

Arguments: configuration, run directory, the worker's program.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from proxy.control.app import Control
from proxy.control.run_dir import RunDir
from proxy.settings.loader import Loader
from proxy.telemetry.logs import install


class Ports:
    def __init__(self):
        self.addresses = {"admin": "nowhere"}

    async def close(self):
        pass


async def open_ports(control, settings):
    return Ports()


async def say(control):
    while not (hasattr(control, "_supervisor") and control._supervisor.serving == control.settings.worker_count):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    if os.environ.get("LEFT_ALONE_KILLS_FAULTS"):
        await control.faults.throw("before it died", "alice")
    found = {
        "pids": [place.process.pid for place in control._supervisor.places.values()],
        "address": control.listening[0],
        "secrets": control.spec["secrets"],
    }
    print(json.dumps(found), flush=True)


async def main():
    config, run_dir, worker = (Path(argument) for argument in sys.argv[1:])
    loader = Loader(config, {})
    writer = install(clock=time.time)
    control = Control(config, loader, loader.load(), RunDir(run_dir), writer, module=(str(worker),))
    said = asyncio.ensure_future(say(control))
    await control.run(lambda: open_ports)
    await said


if __name__ == "__main__":
    asyncio.run(main())
