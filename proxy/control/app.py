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
from pathlib import Path
from typing import Any, Final, Protocol

from proxy.control.drain import Departure
from proxy.control.endpoints import Endpoints, look_after
from proxy.control.errand import ALONE, Errand
from proxy.control.guardian import HANDED_OVER, OK, PASSED_ON
from proxy.control.handover import Inventory, send_away, take_stock
from proxy.control.keys import Keys, keep_keys, warn_of_keys
from proxy.control.kill_switch import KillSwitch
from proxy.control.legacy import Legacy
from proxy.control.publish import compose
from proxy.control.reload import Reloader
from proxy.control.resolver import Resolver, look_up, names_of, with_addresses
from proxy.control.run_dir import RunDir
from proxy.control.sockets import bound_address, close_listeners
from proxy.control.state import Store, open_store
from proxy.control.supervisor import Supervisor
from proxy.control.takeover import Survivor, find_survivors
from proxy.control.tasks import Tasks
from proxy.control.unit_lists import UnitLists
from proxy.control.upgrade import Desk
from proxy.control.worker_process import WorkerLauncher
from proxy.errors import TidegateError
from proxy.settings.changes import compare
from proxy.settings.loader import Loaded, Loader
from proxy.settings.models.top import Settings
from proxy.settings.problems import SettingsError, excerpt
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts, weights_of
from proxy.telemetry.ledger import LedgerFullError
from proxy.telemetry.log_file import LogFile
from proxy.telemetry.logs import LogWriter, install
from proxy.telemetry.totals import Totals

log = logging.getLogger("tidegate.control")

NAMES_PATIENCE: Final = 1.0
"""Seconds that the first plan waits for names to resolve."""
_TICK: Final = 1.0  # seconds between two looks at what nothing tells of: CPU times, lost lines
_ENDPOINT_WORDS: Final = "the endpoints of %s are now %s"

Spec = dict[str, Any]


class Ports(Protocol):
    """The open admin ports."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where they listen, by name."""

    async def close(self) -> None:
        """Close them."""


OpenPorts = Callable[["Control", Settings], Awaitable[Ports]]
"""Opens the admin ports over the control process. Raises TidegateError. Handed in, for control imports no surface."""

FindPorts = Callable[[], OpenPorts]
"""Imports what opens the ports. Called on a thread, while the workers start."""


def show_problems(error: SettingsError) -> None:
    """All that is wrong with a configuration, one line a problem."""
    for problem in error.problems:
        lines = "\n".join(excerpt(problem, error.sources.get(problem.place.file)))
        log.error(problem.line(), extra={"fields": {"exception": lines} if lines else {}})


class Control:
    """The control process. Also what the admin port reads (surfaces/admin/state.py)."""

    def __init__(
        self,
        config: Path,
        loader: Loader,
        loaded: Loaded,
        run_dir: RunDir | None,
        writer: LogWriter,
        environ: Mapping[str, str],
        module: tuple[str, ...] = ("-m", "proxy.dataplane.worker"),
        errand: Errand = ALONE,
        *,
        succeeding: bool = False,
    ) -> None:
        """`module` is what a worker's interpreter runs. `succeeding`: takes the place of a control process of an earlier
        program, whose workers are all replaced."""
        self.file: Final = str(config)
        self.facts: Final = Facts()
        self.warnings: list[str] = []
        self.spec: Spec = loaded.spec
        self.settings: Settings = loaded.settings
        self._loader: Final = loader
        self._loaded = loaded
        self._run_dir: Final = run_dir
        self._writer = writer
        self._environ: Final = environ
        self._module: Final = module
        self._tasks: Final = Tasks()
        self._generation = 0
        self._keys = Keys()
        self._access: LogFile | None = None
        self._ports: Ports | None = None
        self._ending = False
        self._errand: Final = errand
        self._succeeding: Final = succeeding
        self._desk: Desk | None = None
        self._leaving_strangers: Final[list[Survivor]] = []
        self._upgraded = not succeeding  # whether the workers are all this program's

    # What the admin port reads beside the attributes.

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
        return {} if self._ports is None else self._ports.addresses

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
        loop = asyncio.get_running_loop()
        self._departure = Departure()
        self._reloader = Reloader(self._loader, self._take, self._refuse, lambda: self.settings.watch == "poll")
        self._install_signals(loop)
        store: Store = open_store(self.settings.state, Path.cwd())
        try:
            found = [] if self._run_dir is None else find_survivors(self._run_dir)
            addresses = [listener["address"] for listener in self._loaded.spec["listeners"]]
            self._inventory = take_stock(found, addresses, self.settings.worker_count, anew=self._succeeding)
            self._open_access_log()
            self._keys = await keep_keys(store, self._inventory.legacy.keys)
            self._faults = KillSwitch(store, time.time, self._tell_of_faults)
            await self._faults.load(self._inventory.legacy.faults_killed)
            self._start_workers()
            self._lists = UnitLists(
                self._loader.unit_files,
                self.facts,
                self._supervisor.lend,
                loop.call_later,
                lambda: self.settings.watch == "poll",
            )
            self._endpoints = look_after(
                store,
                self._supervisor.mark,
                self._totals.endpoints,
                self.facts.health_checks,
                random.random,
                self._tasks,
                inherit=bool(self._inventory.survivors),
            )
            await self._endpoints.load()
            ports = asyncio.ensure_future(asyncio.to_thread(find_ports))
            await self._start_plan(lasting=store.lasting)
            open_ports = await ports
            self._ports = await open_ports(self, self.settings)
            for name, address in self._ports.addresses.items():
                log.info("the %s port listens on %s", name, address)
            self._work("watch", self._reloader.watch())
            self._work("reload", self._reloader.run())
            self._work("lists", self._lists.watch())
            self._work("resolve", self._resolver.run())
            self._work("tick", self._tick())
            self._open_ports = open_ports
            self._open_desk()
            self._work("replace workers", self._replace_misfits())
            if await self._departure.wait() is None:
                self._ending = True
                log.info("the control process of another program takes over")
                await self._supervisor.let_go()
                return HANDED_OVER
            drain = self.settings.drain
            await self._departure.leave(self._supervisor, drain.delay, drain.limit, self._stop_listening)
            self._ending = True
        except TidegateError:
            if hasattr(self, "_supervisor") and not self._inventory.survivors:
                self._supervisor.kill()  # a start that failed leaves nothing behind but what others left
            raise
        finally:
            if self._desk is not None:
                self._desk.close()
            if self._ports is not None:
                await self._ports.close()
            if hasattr(self, "_endpoints"):
                self._endpoints.close()
            await self._tasks.close()
            await store.close()
            if self._access is not None:
                self._access.close()
        return OK

    def _install_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._departure.signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR1, self._rotate)
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*PASSED_ON, signal.SIGCHLD))  # the guardian's child is born deaf

    def _start_workers(self) -> None:
        inventory: Inventory = self._inventory
        workers = self.settings.worker_count
        self._exposition = Exposition(inventory.cells, inventory.ledger, self.facts)
        self._totals = Totals(inventory.cells, inventory.ledger)
        self._generation = inventory.legacy.generation
        alive = {one.index for one in inventory.survivors}
        left = set(inventory.legacy.left) - alive
        for index, restarts in inventory.legacy.restarts.items():
            self.facts.worker(index).restarts = restarts + (index not in alive and index not in left)
            self.facts.worker(index).left = index in left
        for index, seconds in inventory.legacy.cpu.items():
            self.facts.worker(index).cpu_before = seconds
        for index in set(range(inventory.cells.regions)) - alive:
            inventory.ledger.reset_present(inventory.cells.view, index)
        launcher = WorkerLauncher(
            workers,
            inventory.cells.descriptor,
            [listener.socket for listener in inventory.listeners],
            None if self._run_dir is None else self._run_dir.path,
            self._module,
        )
        loop = asyncio.get_running_loop()
        room = inventory.cells.room
        self._supervisor = Supervisor(workers, room, launcher, loop, random.random, self, self._tasks)
        self._supervisor.kill_faults(self._faults.kill is not None)
        self.facts.faults_killed = self._faults.kill is not None
        if inventory.survivors:
            log.info(
                "took over %d workers of an earlier control process", len(inventory.survivors),
                extra={"fields": {"processes": [one.pid for one in inventory.survivors]}},
            )  # fmt: skip
        self._supervisor.adopt(inventory.survivors)
        self._supervisor.start(self.settings.drain.limit)

    async def _start_plan(self, *, lasting: bool) -> None:
        self._resolver = Resolver(look_up, random.random, self._moved)
        self._lasting = lasting
        self._lists.bring(self._loaded.lists)
        self._publish(await self._prepare(self._loaded))
        self._taken(self._loaded)
        for line in warn_of_keys(self._loaded.spec["secrets"], lasting=lasting):
            log.warning(line)
        if self._inventory.misfits:
            why = "are another program's" if self._succeeding else "do not fit the configuration"
            log.info("surviving workers %s %s", self._inventory.misfits, why)
        for address in self.listening:
            log.info("listening on %s", address)

    async def _replace_misfits(self) -> None:
        await self._supervisor.replace(self._inventory.misfits, self.settings.drain.limit)
        await self._supervisor.served()
        self._upgraded = True
        if self._succeeding and self._errand.line is not None:
            log.info("the workers of this program serve")
            self._errand.line.say({"ready": True})

    # What is asked at the desk.

    def _open_desk(self) -> None:
        if self._run_dir is None:
            return
        try:
            self._desk = Desk(self._run_dir, self._errand, self, self._tasks)
        except OSError as error:
            log.warning("the run directory takes no socket (%s): there is no upgrade without a restart", error)

    def status(self) -> dict[str, Any]:
        """Who this is and how far it is: `draining` counts workers that leave, `upgraded` says whether all others are this
        program's, `failure` why the last upgrade was given up."""
        return {
            "pid": os.getpid(),
            "guardian": 0 if self._errand.line is None else os.getppid(),
            "file": str(Path(self.file).absolute()),
            "workers": self._supervisor.count,
            "serving": self._supervisor.serving,
            "draining": self._supervisor.draining + len(self._inventory.strangers) + len(self._leaving_strangers),
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

    async def _prepare(self, loaded: Loaded) -> Spec:
        await self._resolver.want(names_of(loaded.spec["upstreams"]), NAMES_PATIENCE)
        return loaded.spec

    def _work(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(name, work)

    # The plan.

    def _publish(self, spec: Spec) -> None:
        """Send `spec` to all workers as the next generation. Raises LedgerFullError, and then nothing has changed."""
        generation = self._generation + 1
        placed = self._inventory.ledger.place(
            {
                **spec,
                "generation": generation,
                "listeners": self._running_listeners(spec),
                "secrets": self._keys.fill(spec["secrets"]),
                "upstreams": [
                    {**one, "endpoints": with_addresses(one["endpoints"], self._resolver.addresses)}
                    for one in spec["upstreams"]
                ],
            }
        )
        self._generation = generation
        self.spec = placed
        self.facts.generation = generation
        self.facts.weights = weights_of(placed)
        self._supervisor.keep(self._legacy())
        self._supervisor.publish(compose(placed))
        self._endpoints.bring(placed["upstreams"], spec["upstreams"])

    def _stop_listening(self) -> None:
        close_listeners(self._inventory.listeners, unlink=True)

    def _running_listeners(self, spec: Spec) -> list[Spec]:
        """What the sockets that are open shall do: the file's word where it still names their address."""
        wanted = {one["address"]: one for one in spec["listeners"]}
        before = {one["address"]: one for one in self.spec["listeners"]}
        addresses = [listener.address for listener in self._inventory.listeners]
        return [wanted.get(address) or before[address] for address in addresses]

    def _legacy(self) -> bytes:
        return Legacy(
            self._generation,
            self._inventory.ledger.dump(),
            self._keys,
            {index: worker.restarts for index, worker in self.facts.workers.items()},
            {index: worker.cpu_before for index, worker in self.facts.workers.items()},
            [listener.address for listener in self._inventory.listeners],
            [index for index, worker in self.facts.workers.items() if worker.left],
            self._faults.packed(),
        ).pack()

    def _tell_of_faults(self) -> None:
        killed = self._faults.kill is not None
        self.facts.faults_killed = killed
        self._supervisor.kill_faults(killed)
        self._supervisor.keep(self._legacy())

    def _moved(self, names: set[str]) -> None:
        """Names have other addresses: told to the workers at once, and part of every later plan."""
        configured = {one["name"]: one for one in self._loaded.spec["upstreams"]}
        upstreams = []
        for one in self.spec["upstreams"]:
            named = configured.get(one["name"])
            if named is None or not names & names_of([named]):
                upstreams.append(one)
                continue
            try:
                endpoints = self._inventory.ledger.place_endpoints(
                    one["name"], with_addresses(named["endpoints"], self._resolver.addresses)
                )
            except LedgerFullError as error:
                log.error("%s; the endpoints of %s stay as they were", error, one["name"])
                upstreams.append(one)
                continue
            log.info(_ENDPOINT_WORDS, one["name"], ", ".join(f"{e['host']}:{e['port']}" for e in endpoints))
            upstreams.append({**one, "endpoints": endpoints})
            self._supervisor.keep(self._legacy())
            self._supervisor.send_endpoints(one["name"], endpoints)
        self.spec = {**self.spec, "upstreams": upstreams}
        self._supervisor.prepare(compose(self.spec))
        self._endpoints.bring(upstreams, self._loaded.spec["upstreams"])

    # The file.

    async def _take(self, loaded: Loaded) -> None:
        """Bring a configuration that was read anew into force."""
        if self._departure.begun:
            return
        old = self._loaded
        changes = compare(old.spec, loaded.spec, old.settings, loaded.settings)
        stamped = old.spec != loaded.spec
        self.facts.reloads += 1
        self._lists.bring(loaded.lists)
        if changes or stamped:
            spec = await self._prepare(loaded)
            try:
                self._publish(spec)
            except LedgerFullError as error:
                self._lists.bring(old.lists)
                self._fail([str(error)])
                return
        else:
            log.debug("the configuration was read again; nothing has changed")
        mended = not self.facts.last_reload_success
        self._taken(loaded)
        if mended:
            log.info("the configuration is valid again; plan %d is in force", self._generation)
        for line in changes.lines:
            log.info(line)
        if changes.restart:
            log.warning("takes effect with the next start only: %s", ", ".join(changes.restart))
        await self._apply(old.settings, loaded.settings)
        self._resize()

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

    def _taken(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.facts.last_reload_success = True
        self.facts.last_reload_time = time.time()
        self.facts.problems = []
        self.warnings = [warning.line() for warning in loaded.warnings]
        self.warnings += warn_of_keys(loaded.spec["secrets"], lasting=self._lasting)
        running, wanted = self._running_settings(loaded.settings)
        self.settings = running
        self.warnings += [f"{key} was changed and takes effect with the next start" for key in wanted]

    def _running_settings(self, new: Settings) -> tuple[Settings, list[str]]:
        """`new` with the values of restart-only keys that are in force, and the keys where they differ."""
        changes = compare(self.spec, self.spec, self.settings, new)
        kept = {key.split(".")[0] for key in changes.restart} - {"listen"}
        held = {name: getattr(self.settings, name) for name in kept if name != "admin"}
        if "admin" in kept:
            held["admin"] = self.settings.admin.model_copy(update={"tokens": new.admin.tokens})
        held["listen"] = self.settings.listen if "listen" in changes.restart else new.listen
        return new.model_copy(update=held), changes.restart

    async def _apply(self, old: Settings, new: Settings) -> None:
        """The live keys that are control's own."""
        if old.log != new.log:
            self._writer = install(style=new.log.format, level=new.log.level, clock=time.time)
        if old.access_log != new.access_log:
            closing, self._access = self._access, None
            try:
                self._open_access_log()
            except TidegateError as error:
                log.error(str(error))
            if closing is not None:
                await asyncio.to_thread(closing.close)
        if self._ports is None or old.admin.tokens != new.admin.tokens:
            if self._ports is not None:
                await self._ports.close()
            self._ports = None
            try:
                self._ports = await self._open_ports(self, self.settings)
            except TidegateError as error:
                log.error("%s; the ports stay closed until a reload opens them", error)

    def _refuse(self, error: SettingsError) -> None:
        show_problems(error)
        self._fail([problem.line() for problem in error.problems])

    def _fail(self, problems: list[str]) -> None:
        self.facts.reloads += 1
        self.facts.reload_failures += 1
        self.facts.last_reload_success = False
        self.facts.problems = problems
        log.error("the configuration is not used (%d errors); plan %d goes on", len(problems), self._generation)

    def _hang_up(self) -> None:
        log.info("SIGHUP: reading the configuration again")
        self._rotate()
        self._reloader.ask()

    def _rotate(self) -> None:
        if self._access is not None:
            self._access.reopen()

    def _open_access_log(self) -> None:
        target = self.settings.access_log
        if target == "off":
            return
        try:
            self._access = LogFile(target, lambda level, text: log.log(getattr(logging, level.upper()), text))
        except OSError as error:
            raise TidegateError(f"access_log: {target} cannot be opened: {error.strerror or error}") from error

    # What the supervisor tells.

    def started(self, index: int, pid: int) -> None:
        """A process runs in this place."""
        self.facts.worker(index).started(pid)
        self._record()
        if self._generation > self._inventory.legacy.generation:  # else there is nothing yet for anyone to go on with
            self._supervisor.keep(self._legacy())

    def died(self, index: int, cpu: float) -> None:
        """A worker's process has ended."""
        self.facts.worker(index).ended(cpu)
        self._inventory.ledger.reset_present(self._inventory.cells.view, index)
        self._record()

    def left(self, index: int) -> None:
        """A worker has drained and nobody comes after it in its place."""
        self.facts.worker(index).left = True
        if self._generation > self._inventory.legacy.generation:
            self._supervisor.keep(self._legacy())

    def shared(self, workers: int, living: list[int]) -> None:
        """Limits are divided among `workers`, and those of the numbers `living` run."""
        self._inventory.cells.share(workers, living)

    def serving(self, index: int, generation: int, seconds: float) -> None:
        """A worker serves this plan."""
        self.facts.worker(index).up = True
        log.debug("worker %d serves plan %d, taken in %.3f s", index, generation, seconds)
        for stranger in self._inventory.strangers:
            log.info("worker %d of another version (process %d) is drained", stranger.index, stranger.pid)
            send_away(stranger, self.settings.drain.limit)
            self._leaving_strangers.append(stranger)
            asyncio.get_running_loop().add_reader(stranger.channel, self._stranger_said, stranger)
        self._inventory.strangers.clear()

    def _stranger_said(self, stranger: Survivor) -> None:
        """Words of another version mean nothing, and their end means that it is gone."""
        try:
            if stranger.channel.recv(1 << 16):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # it is gone all the same
        asyncio.get_running_loop().remove_reader(stranger.channel)
        stranger.channel.close()
        self._leaving_strangers.remove(stranger)

    def refused(self, index: int, generation: int, error: str) -> None:
        """A worker could not take this plan."""
        if generation == self._generation:
            self.facts.last_reload_success = False
            self.facts.problems = [f"worker {index} cannot take plan {generation}: {error}"]

    def settled(self, generation: int) -> None:
        """No worker has an exchange left on an older plan."""
        if self._inventory.ledger.settled(generation):
            self._supervisor.keep(self._legacy())

    def accessed(self, lines: bytes) -> None:
        """Whole lines for the access log."""
        if self._access is not None:
            self._access.write(lines)

    def _record(self) -> None:
        if self._run_dir is None or self._ending:
            return
        try:
            self._run_dir.record(self._supervisor.running())
        except OSError as error:
            log.warning("the run directory cannot be written (%s): taking over may miss workers", error)

    # The clock.

    async def _tick(self) -> None:
        while True:
            for place in self._supervisor.places.values():
                if place.process is not None:
                    self.facts.worker(place.index).cpu(place.process.cpu_seconds())
            self.facts.log_lines_lost = self._writer.lost
            self.facts.log_lines_repeated = self._writer.repeated
            if self._access is not None:
                self.facts.access_lines_lost = dict(self._access.lost)
            self._writer.tick()
            self._endpoints.tick()
            await asyncio.sleep(_TICK)
