"""The one place where the control process is put together.

In the order of a start: the configuration is read, survivors of an earlier control process are met, workers start while
names resolve, the plan is sent, the admin port opens. From then on everything is a reaction: to a file, to a worker, to
a name, to a signal.
"""

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from proxy.control.access_file import AccessFile
from proxy.control.briefing import Briefing
from proxy.control.configuration import Configuration
from proxy.control.departure import Departure
from proxy.control.desk import Desk
from proxy.control.endpoints import Endpoints, look_after
from proxy.control.errand import ALONE, Errand
from proxy.control.exposures import Exposures
from proxy.control.flags import FlagPort
from proxy.control.guardian import HANDED_OVER, OK, PASSED_ON
from proxy.control.handover import take_stock
from proxy.control.keys import keep_keys
from proxy.control.kill_switch import KillSwitch
from proxy.control.plans import Plans
from proxy.control.ports import AdminPorts, Ports
from proxy.control.provisions import Provisions
from proxy.control.register import Register
from proxy.control.reload import Reloader
from proxy.control.rollouts.desk import RolloutDesk
from proxy.control.rollouts.evidence import Evidences
from proxy.control.rollouts.room import RolloutRoom
from proxy.control.run_dir import RunDir
from proxy.control.sockets import bound_address, close_listeners
from proxy.control.state import Store, open_store
from proxy.control.strangers import Strangers
from proxy.control.supervisor import Supervisor
from proxy.control.takeover import find_survivors
from proxy.control.tasks import Tasks
from proxy.control.unit_lists import UnitLists
from proxy.control.watchdog import Watchdog
from proxy.control.worker_process import WorkerLauncher
from proxy.errors import TidegateError
from proxy.settings.loader import Loaded, Loader
from proxy.settings.models.top import Settings
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts
from proxy.telemetry.logs import LogWriter, install
from proxy.telemetry.totals import Totals

log = logging.getLogger("tidegate.control")

_TICK: Final = 1.0  # seconds between two looks at what nothing tells of: CPU times, lost lines

Spec = dict[str, Any]

OpenPorts = Callable[["Control", Settings], Awaitable[Ports]]
"""Opens the admin ports over the control process. Raises TidegateError. Handed in, for control imports no surface."""

FindPorts = Callable[[], OpenPorts]
"""Imports what opens the ports. Called on a thread, while the workers start."""


class Control:
    """The control process. Also what the admin port reads (surfaces/admin/state.py)."""

    def __init__(
        self,
        config: Path,
        loader: Loader,
        loaded: Loaded,
        run_dir: RunDir | None,
        writer: LogWriter,
        module: tuple[str, ...] = ("-m", "proxy.dataplane.worker"),
        errand: Errand = ALONE,
        *,
        succeeding: bool = False,
    ) -> None:
        """`module` is what a worker's interpreter runs. `succeeding`: takes the place of a control process of an earlier
        program, whose workers are all replaced."""
        self.file: Final = str(config)
        self.facts: Final = Facts()
        self._loader: Final = loader
        self._configuration: Final = Configuration(loaded, self.facts)
        self._run_dir: Final = run_dir
        self._writer = writer
        self._module: Final = module
        self._tasks: Final = Tasks()
        self._access: Final = AccessFile()
        self._errand: Final = errand
        self._succeeding: Final = succeeding
        self._upgraded = not succeeding  # whether the workers are all this program's

    # What the admin port reads beside the attributes.

    @property
    def settings(self) -> Settings:
        """The values in force."""
        return self._configuration.settings

    @property
    def warnings(self) -> list[str]:
        """What is doubtful in the configuration in force, one line each."""
        return self._configuration.warnings

    @property
    def spec(self) -> Spec:
        """Of the plan in force."""
        return self._plans.spec

    @property
    def exposition(self) -> Exposition:
        """Renders /metrics."""
        return self._exposition

    @property
    def totals(self) -> Totals:
        """Sums by version and endpoint."""
        return self._totals

    @property
    def ports(self) -> Mapping[str, str]:
        """Where the admin ports listen, by name."""
        return {**self._ports.addresses, **self._flags.addresses}

    @property
    def listening(self) -> list[str]:
        """Where the proxy listens."""
        return [bound_address(listener) for listener in self._inventory.listeners]

    @property
    def endpoints(self) -> Endpoints:
        """Which endpoints are healthy, and which are drained."""
        return self._endpoints

    @property
    def faults(self) -> KillSwitch:
        """The switch that ends all faults."""
        return self._faults

    @property
    def exposures(self) -> Exposures:
        """Who got which version, and why."""
        return self._exposures

    @property
    def evidence(self) -> Evidences:
        """What versions that are compared have had."""
        return self._rollout_room.evidence

    @property
    def lists(self) -> UnitLists:
        """The lists of units."""
        return self._provisions.lists

    @property
    def rollouts(self) -> RolloutDesk:
        """Where people ask of rollouts, and set weights by hand."""
        return self._rollout_room.desk

    def not_ready(self) -> list[str]:
        """Why no traffic should be sent here; empty when it should."""
        reasons = []
        if self._departure.begun:
            reasons.append("draining")
        if not self._supervisor.serving:
            reasons.append("no worker serves a plan")
        return reasons

    # The life of it.

    async def run(self, find_ports: FindPorts) -> int:
        """Start, serve until a signal says otherwise, drain. Raises TidegateError when it cannot start."""
        self._departure = Departure()
        self._reloader = Reloader(
            self._loader, self._take, self._configuration.refuse, lambda: self.settings.watch == "poll"
        )
        self._install_signals()
        async with AsyncExitStack() as closing:
            closing.callback(self._access.close)
            store = open_store(self.settings.state, Path.cwd())
            closing.push_async_callback(store.close)
            after_tasks = await closing.enter_async_context(AsyncExitStack())
            closing.push_async_callback(self._tasks.close)
            await self._take_up(store)
            after_tasks.push_async_callback(self._rollout_room.close)
            closing.callback(self._endpoints.close)
            closing.push_async_callback(self._exposures.close)
            await self._exposures.follow(self.settings)
            self._start_workers()
            try:
                await self._endpoints.load()
                ports = asyncio.ensure_future(asyncio.to_thread(find_ports))
                await self._start_plan(lasting=store.lasting)
                await self._open_ports(await ports, closing)
            except TidegateError:
                if not self._inventory.survivors:
                    self._supervisor.kill()  # a start that failed leaves nothing behind but what others left
                raise
            self._work("watch", self._reloader.watch())
            self._work("reload", self._reloader.run())
            self._work("lists", self._provisions.lists.watch())
            self._work("token keys", self._provisions.token_keys.run())
            self._work("resolve", self._plans.resolver.run())
            self._rollout_room.begin()
            self._work("tick", self._tick())
            self._open_desk(closing)
            self._work("replace workers", self._replace_misfits())
            return await self._leave(hands_over=await self._departure.wait() is None)

    async def _take_up(self, store: Store) -> None:
        """Find what is there already, and put together what works on it."""
        spec = self._configuration.loaded.spec
        found = [] if self._run_dir is None else find_survivors(self._run_dir)
        addresses = [listener["address"] for listener in spec["listeners"]]
        inventory = take_stock(found, addresses, self.settings.worker_count, anew=self._succeeding)
        self._inventory = inventory
        self._strangers = Strangers(inventory.strangers)
        self._access.open(self.settings.access_log)
        keys = await keep_keys(store, inventory.legacy.keys)
        self._faults = KillSwitch(store, time.time, self._tell_of_faults)
        await self._faults.load(inventory.legacy.faults_killed)
        self._briefing = Briefing({})
        self._exposition = Exposition(inventory.cells, inventory.ledger, self.facts)
        self._totals = Totals(inventory.cells, inventory.ledger)
        self._endpoints = look_after(
            store,
            self._briefing.mark,
            self._totals.endpoints,
            self.facts.health_checks,
            random.random,
            self._tasks,
            inherit=bool(inventory.survivors),
        )
        self._exposures = Exposures(self.facts.exposures, lambda: self._plans.spec, self._forget)
        self._provisions = Provisions(
            self._loader.unit_files,
            self.facts,
            self._briefing,
            store,
            self._run_dir,
            self._exposures,
            lambda: self.settings,
        )
        self._rollout_room = RolloutRoom(
            self.settings.state,
            store,
            inventory,
            self._exposures,
            self.facts,
            self._tasks,
            lambda: self._plans.spec,
            self._republish,
        )
        await self._rollout_room.load(spec)
        self._plans = Plans(
            spec,
            inventory,
            keys,
            self._faults,
            self._endpoints,
            self._briefing,
            self.facts,
            self._rollout_room.rollouts.lay,
        )
        self._flags = FlagPort(
            lambda: self._plans.spec, self._provisions.lists.tables, time.time, self.facts, self._provisions.token_keys
        )

    async def _leave(self, *, hands_over: bool) -> int:
        if hands_over:
            self._register.close()
            log.info("the control process of another program takes over")
            await self._supervisor.let_go()
            return HANDED_OVER
        drain = self.settings.drain
        await self._departure.leave(self._supervisor, drain.delay, drain.limit, self._stop_listening)
        self._register.close()
        return OK

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._departure.signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR1, self._access.reopen)
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*PASSED_ON, signal.SIGCHLD))  # the guardian's child is born deaf

    def _start_workers(self) -> None:
        inventory = self._inventory
        workers = self.settings.worker_count
        self._register = Register(
            inventory,
            self.facts,
            self._plans,
            self._briefing.places,
            self._run_dir,
            self._access,
            self._exposures,
            self._rollout_room.evidence,
            self._provisions.token_keys,
            self._send_strangers_away,
        )
        launcher = WorkerLauncher(
            workers,
            inventory.cells.descriptor,
            [listener.socket for listener in inventory.listeners],
            None if self._run_dir is None else self._run_dir.path,
            self._module,
        )
        loop = asyncio.get_running_loop()
        room = inventory.cells.room
        self._supervisor = Supervisor(
            workers, room, launcher, loop, random.random, self._register, self._tasks, self._briefing
        )
        self._watchdog = Watchdog(
            inventory.cells,
            self._supervisor.places,
            loop,
            self._supervisor.happen,
            lambda: self.settings.watchdog,
        )
        self._tell_of_faults()
        if inventory.survivors:
            log.info(
                "took over %d workers of an earlier control process", len(inventory.survivors),
                extra={"fields": {"processes": [one.pid for one in inventory.survivors]}},
            )  # fmt: skip
        self._supervisor.adopt(inventory.survivors)
        self._supervisor.start(self.settings.drain.limit)

    async def _start_plan(self, *, lasting: bool) -> None:
        await self._provisions.bring(self._configuration.loaded)
        await self._configuration.begin(self._plans.publish, lasting=lasting)
        if self._inventory.misfits:
            why = "are another program's" if self._succeeding else "do not fit the configuration"
            log.info("surviving workers %s %s", self._inventory.misfits, why)
        for address in self.listening:
            log.info("listening on %s", address)

    async def _open_ports(self, open_ports: OpenPorts, closing: AsyncExitStack) -> None:
        # The port of flags first: whoever sees the admin port answer finds all of it open.
        closing.push_async_callback(self._flags.close)
        await self._flags.open(self.settings)
        self._ports = AdminPorts(lambda settings: open_ports(self, settings))
        closing.push_async_callback(self._ports.close)
        await self._ports.open(self.settings)

    async def _replace_misfits(self) -> None:
        await self._supervisor.replace(self._inventory.misfits, self.settings.drain.limit)
        await self._supervisor.served()
        self._upgraded = True
        if self._succeeding and self._errand.line is not None:
            log.info("the workers of this program serve")
            self._errand.line.say({"ready": True})

    # What is asked at the desk.

    def _open_desk(self, closing: AsyncExitStack) -> None:
        if self._run_dir is None:
            return
        try:
            desk = Desk(self._run_dir, self._errand, self, self._tasks)
        except OSError as error:
            log.warning("the run directory takes no socket (%s): there is no upgrade without a restart", error)
        else:
            closing.callback(desk.close)

    def status(self) -> dict[str, Any]:
        """Who this is and how far it is: `draining` counts workers that leave, `upgraded` says whether all others are this
        program's, `failure` why the last upgrade was given up."""
        return {
            "pid": os.getpid(),
            "guardian": 0 if self._errand.line is None else os.getppid(),
            "file": str(Path(self.file).absolute()),
            "workers": self._supervisor.count,
            "serving": self._supervisor.serving,
            "draining": self._supervisor.draining + len(self._strangers),
            "drain_limit": self.settings.drain.limit,
            "upgraded": self._upgraded,
            "failure": self._errand.failure,
        }

    def not_to_hand_over(self) -> str:
        """Why the place cannot be handed over now; empty when it can."""
        if self._departure.begun:
            return "it is leaving"
        return "" if self._upgraded else "it has only just taken over itself"

    def hand_over(self) -> None:
        """Leave without the workers."""
        self._departure.hand_over()

    def _work(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(name, work)

    def _stop_listening(self) -> None:
        close_listeners(self._inventory.listeners, unlink=True)

    def _send_strangers_away(self) -> None:
        self._strangers.send_away(self.settings.drain.limit)

    def _forget(self, unit: str) -> None:
        """A unit (its hash) was erased from the exposures."""
        self._briefing.forget(unit)
        self._provisions.caps.forget(int(unit, 16))

    def _tell_of_faults(self) -> None:
        killed = self._faults.kill is not None
        self.facts.faults_killed = killed
        self._briefing.kill_faults(killed)
        self._plans.bequeath()

    # The file.

    async def _take(self, loaded: Loaded) -> None:
        """Bring a configuration that was read anew into force."""
        if self._departure.begun:
            return
        old = self._configuration.loaded
        await self._provisions.bring(loaded)
        if await self._configuration.take(loaded, self._plans.publish):
            await self._rollout_room.follow(loaded.spec)
            await self._apply(old.settings, loaded.settings)
            self._resize()
        else:
            await self._provisions.bring(old)

    def _republish(self) -> None:
        self._plans.republish()

    def _resize(self) -> None:
        wanted = self.settings.worker_count
        if wanted == self._supervisor.count:
            return
        if self._supervisor.resize(wanted, self.settings.drain.limit) < wanted:
            log.warning(
                "%d workers run and not %d: the counters have room for %d, leaving ones included; "
                "the next reload tries again, and a restart makes room",
                self._supervisor.count, wanted, self._inventory.cells.room,
            )  # fmt: skip

    async def _apply(self, old: Settings, new: Settings) -> None:
        """The live keys that are control's own."""
        if old.log != new.log:
            self._writer = install(style=new.log.format, level=new.log.level, clock=time.time)
        if old.access_log != new.access_log:
            await self._access.move(new.access_log)
        await self._exposures.follow(self.settings)
        await self._ports.follow(self.settings, changed=old.admin.tokens != new.admin.tokens)
        await self._flags.follow(old, new)

    def _hang_up(self) -> None:
        log.info("SIGHUP: reading the configuration again")
        self._access.reopen()
        self._reloader.ask()

    # The clock.

    async def _tick(self) -> None:
        while True:
            self._register.look()
            self._watchdog.look()
            self.facts.log_lines_lost = self._writer.lost
            self.facts.log_lines_repeated = self._writer.repeated
            self.facts.access_lines_lost = self._access.lost
            self._writer.tick()
            self._endpoints.tick()
            self._exposures.tick()
            await self._provisions.caps.tick()
            self._flags.tick()
            await asyncio.sleep(_TICK)
