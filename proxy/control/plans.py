"""The plan in force: what the workers are sent of it, and what they keep of it for a control process that takes over.

A plan comes from a spec of the file's, over which is laid what a rollout or a hand has moved. Names in it move meanwhile: the
workers are told at once, and later plans have the new addresses, too.
"""

import logging
import random
from collections.abc import Callable
from typing import Any, Final

from proxy.control.briefing import Briefing
from proxy.control.endpoints import Endpoints
from proxy.control.handover import Inventory
from proxy.control.keys import Keys
from proxy.control.kill_switch import KillSwitch
from proxy.control.legacy import Legacy
from proxy.control.publish import compose
from proxy.control.resolver import Resolver, look_up, names_of, with_addresses
from proxy.control.rollouts.effective import file_weights
from proxy.telemetry.facts import Facts, weights_of
from proxy.telemetry.ledger import LedgerFullError

log = logging.getLogger("tidegate.control")

NAMES_PATIENCE: Final = 1.0
"""Seconds that a plan waits for names to resolve."""
_ENDPOINT_WORDS: Final = "the endpoints of %s are now %s"

Spec = dict[str, Any]


class Plans:
    """One after the other, from the first to the last."""

    def __init__(
        self,
        spec: Spec,
        inventory: Inventory,
        keys: Keys,
        faults: KillSwitch,
        endpoints: Endpoints,
        briefing: Briefing,
        facts: Facts,
        lay: Callable[[Spec], Spec],
    ) -> None:
        """`spec` is what the first plan will be made of. `lay` gives a spec of the file's with what is laid over it now."""
        self.spec: Spec = spec
        """Of the plan in force, with places for counters, keys and addresses."""
        self.generation: int = inventory.legacy.generation
        self.resolver: Final = Resolver(look_up, random.random, self._moved)
        self._file: Spec = spec  # as the file has it
        self._inventory: Final = inventory
        self._keys: Final = keys
        self._faults: Final = faults
        self._endpoints: Final = endpoints
        self._briefing: Final = briefing
        self._facts: Final = facts
        self._lay: Final = lay

    async def publish(self, spec: Spec) -> None:
        """Look up the names of `spec` and send it to all workers as the next generation.

        Raises LedgerFullError, and then nothing has changed.
        """
        await self.resolver.want(names_of(spec["upstreams"]), NAMES_PATIENCE)
        self._send(spec)

    def republish(self) -> None:
        """Send what the file says once more, with what is laid over it now. Raises LedgerFullError, and then nothing has
        changed."""
        self._send(self._file)

    def _send(self, spec: Spec) -> None:
        # No pause in here: two plans never mix, and what is laid over is that of this moment.
        generation = self.generation + 1
        placed = self._inventory.ledger.place(
            {
                **self._lay(spec),
                "generation": generation,
                "listeners": self._running_listeners(spec),
                "secrets": self._keys.fill(spec["secrets"]),
                "upstreams": [
                    {**one, "endpoints": with_addresses(one["endpoints"], self.resolver.addresses)}
                    for one in spec["upstreams"]
                ],
            }
        )
        self.generation = generation
        self.spec = placed
        self._file = spec
        self._facts.generation = generation
        self._facts.weights = weights_of(placed, {route["name"]: file_weights(route) for route in spec["routes"]})
        self.bequeath()
        self._briefing.publish(compose(placed))
        self._endpoints.bring(placed["upstreams"], spec["upstreams"])

    def bequeath(self) -> None:
        """Have the workers keep what a control process that takes over needs to go on from here; nothing before the first
        plan."""
        if self.generation == self._inventory.legacy.generation:
            return
        workers = self._facts.workers
        legacy = Legacy(
            self.generation,
            self._inventory.ledger.dump(),
            self._keys,
            {index: worker.restarts for index, worker in workers.items()},
            {index: worker.cpu_before for index, worker in workers.items()},
            [listener.address for listener in self._inventory.listeners],
            [index for index, worker in workers.items() if worker.left],
            self._faults.packed(),
        )
        self._briefing.keep(legacy.pack())

    def _running_listeners(self, spec: Spec) -> list[Spec]:
        """What the sockets that are open shall do: the file's word where it still names their address."""
        wanted = {one["address"]: one for one in spec["listeners"]}
        before = {one["address"]: one for one in self.spec["listeners"]}
        addresses = [listener.address for listener in self._inventory.listeners]
        return [wanted.get(address) or before[address] for address in addresses]

    def _moved(self, names: set[str]) -> None:
        """Names have other addresses: told to the workers at once, and part of every later plan."""
        configured = {one["name"]: one for one in self._file["upstreams"]}
        upstreams = []
        for one in self.spec["upstreams"]:
            named = configured.get(one["name"])
            if named is None or not names & names_of([named]):
                upstreams.append(one)
                continue
            try:
                endpoints = self._inventory.ledger.place_endpoints(
                    one["name"], with_addresses(named["endpoints"], self.resolver.addresses)
                )
            except LedgerFullError as error:
                log.error("%s; the endpoints of %s stay as they were", error, one["name"])
                upstreams.append(one)
                continue
            log.info(_ENDPOINT_WORDS, one["name"], ", ".join(f"{e['host']}:{e['port']}" for e in endpoints))
            upstreams.append({**one, "endpoints": endpoints})
            self.bequeath()
            self._briefing.send_endpoints(one["name"], endpoints)
        self.spec = {**self.spec, "upstreams": upstreams}
        self._briefing.prepare(compose(self.spec))
        self._endpoints.bring(upstreams, self._file["upstreams"])
