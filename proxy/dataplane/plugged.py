"""An exchange on a route with plugins: each hook in its turn, and what it says carried out.

The unit is asked for before the decision, the version when one is proposed, then the request as a whole, and the answer when
its head is there. A hook that is not `async` is a plain call. For one that is, the exchange waits as it does at a gate: the
client is read no further, what is there of a body is kept, and a client that leaves ends the call.
"""

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from proxy.core.decide import Decision, may_be_overridden, override
from proxy.core.field_lines import FieldLine, read_lines
from proxy.core.fields import changed_response
from proxy.core.plan import REASONS
from proxy.core.request import Response
from proxy.dataplane.passage import Held, Passage
from proxy.dataplane.plugins import SILENCE, Hook, RoutePlugins
from proxy.errors import PL, Flag
from proxy.plugin import Answer, PluginRequest, PluginResponse, Proposed
from proxy.telemetry.counters import (
    CAUSE_INVALID,
    CAUSE_TIMEOUT,
    HOOK_DECIDE,
    HOOK_REQUEST,
    HOOK_RESPONSE,
    HOOK_UNIT,
    P_ANSWERED,
    P_OVERRIDDEN,
    V_IN_FLIGHT,
)

MAX_UNIT: Final = 1024
"""Bytes of a unit that a plugin names."""
_PHRASES: Final[dict[int, str]] = {status.value: status.phrase for status in HTTPStatus}
_CUT_OFF: Final = "this hook was cut off, and the answer has gone on"
_UNFRAMED: Final = (204, 304)


def begin_asking(passage: Passage, plugged: RoutePlugins) -> None:
    """Ask the plugins of the route, and set off when they have spoken."""
    asking = Asking(passage, plugged)
    passage.asking = asking
    asking.begin()


class Stored:
    """An answer that was stored, while the hooks look at it; as `Passage.answer` takes it."""

    def __init__(self, status: int, body: bytes, served: int, flag: Flag | None, stale: bool) -> None:
        self.status: Final = status
        self.body: Final = body
        self.served: Final = served
        self.flag: Final = flag
        self.stale: Final = stale


class Call:
    """A call of an `async` hook. `asking` is None once nobody waits for it any more."""

    def __init__(self, hook: Hook, asking: "Asking") -> None:
        self.hook: Final = hook
        self.asking: Asking | None = asking
        self.task: asyncio.Task[None] | None = None

    async def run(self, request: PluginRequest, more: object, given: Any) -> None:
        """Have it speak, and the exchange hear it; `given` is what it has said already, to be awaited, or None."""
        hook = self.hook
        runtime = hook.plugin.runtime
        started = runtime.now()
        said: object = SILENCE
        failure: BaseException | None = None
        try:
            if given is None:
                given = hook.call(request) if more is SILENCE else hook.call(request, more)
            said = await given
        except asyncio.CancelledError as error:
            failure = error  # ours, or that of something which the hook itself waited for
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
            failure = error
        hook.asked(runtime.now() - started)
        asking = self.asking
        if asking is None:
            return
        self.asking = None
        if failure is not None:
            said = SILENCE
            hook.raised(failure)
        asking.heard(hook, said)

    def cut_off(self) -> None:
        """Nobody waits for it any more."""
        self.asking = None
        if self.task is not None:
            self.task.cancel()


class Asking(Held):
    """What the hooks of one exchange have said, and where in their turn they are."""

    def __init__(self, passage: Passage, plugged: RoutePlugins) -> None:
        self._passage: Final = passage
        self._plugged: Final = plugged
        self._request: PluginRequest = PluginRequest(passage.request, passage.route.name, secure=passage.client.secure)
        self._kind: int = HOOK_UNIT
        self._place: int = 0
        self._call: Call | None = None
        self._before: dict[bytes, list[bytes]] = {}  # changes of fields, before the hook that is asked now
        self._decision: Decision | None = None
        self._source: str = ""
        self._dropped: frozenset[bytes] = frozenset()
        self._early: list[tuple[bytes, list[bytes] | None]] | None = []  # of the request's body, until it sets off
        self._response: PluginResponse | None = None
        self._head: Response | None = None
        self._body: bytes = b""
        self._complete: bool = False
        self._trailers: list[bytes] = []
        self._later: list[tuple[bytes, bool, list[bytes]]] = []  # of the answer's body, while its head waits
        self._broken: Flag | None = None
        self._stored: Stored | None = None
        self._seen: bool = False  # the hooks have seen the answer
        self.holds_answer: bool = False
        self.passed: bool = False

    # In their turn.

    def begin(self) -> None:
        """Ask for the unit, and go on from there."""
        self._dropped = self._passage.await_decision()
        self._ask(HOOK_UNIT)

    def _ask(self, kind: int) -> None:
        self._kind = kind
        self._place = 0
        self._go_on()

    def _go_on(self) -> None:
        """Ask those of this kind that are left, until one is waited for or has the last word."""
        hooks = self._plugged.hooks[self._kind]
        while self._place < len(hooks):
            hook = hooks[self._place]
            self._place += 1
            self._remember()
            if hook.asynchronous:
                if self._waits_for(hook, None):
                    return
            else:
                said = hook.ask(self._request, self._more())
                if said is SILENCE:
                    self._undo()
                elif said is not None and hasattr(said, "__await__"):  # an async function in the wrapping of another
                    if self._waits_for(hook, said):
                        return
                elif self._take(hook, said):
                    return
        self._spoken()

    def _more(self) -> object:
        """The second argument of the hooks that have one."""
        if self._kind == HOOK_DECIDE:
            return self._proposed()
        response = self._response
        return SILENCE if self._kind != HOOK_RESPONSE or response is None else response

    def _proposed(self) -> Proposed:
        decision = self._decision
        assert decision is not None  # noqa: S101 - it was asked to say something of one
        assert decision.version is not None  # noqa: S101 - see may_be_overridden
        versions = self._passage.route.versions
        choices = tuple([one.name for one in versions if not decision.denied >> one.index & 1])
        return Proposed(decision.version.name, REASONS[decision.reason], decision.rule, choices)

    def _waits_for(self, hook: Hook, given: Any) -> bool:
        """Begin a call, or go on with what one has `given` to be awaited; False where it cannot be."""
        call = Call(hook, self)
        task = hook.spawn(call.run(self._request, self._more(), given))
        if task is None:
            if given is not None and hasattr(given, "close"):
                given.close()
            self._undo()
            return False
        call.task = task
        self._call = call
        if self._kind == HOOK_RESPONSE and not self.holds_answer:
            self.holds_answer = True
            self._passage.hold_upstream(True)
        self._passage.wait(hook.plugin.timeout, self)
        return True

    def heard(self, hook: Hook, said: object) -> None:
        """An `async` hook has spoken, in time."""
        self._call = None
        self._passage.stop_waiting()
        if said is SILENCE:
            self._undo()
        elif self._take(hook, said):
            return
        self._go_on()

    def woken(self, passage: Passage) -> None:
        """The hook has taken too long."""
        call = self._call
        self._call = None
        if call is not None:
            call.cut_off()
            call.hook.failed(CAUSE_TIMEOUT, None)
        self._disown()
        self._go_on()

    def left(self, passage: Passage) -> None:
        """The exchange is over: what the hook would say is of no interest."""
        call = self._call
        self._call = None
        if call is not None:
            call.cut_off()
        self._disown()

    def _remember(self) -> None:
        if self._kind == HOOK_REQUEST:
            self._before = self._request.headers.changes
        elif self._response is not None:
            self._before = self._response.headers.changes

    def _undo(self) -> None:
        """The hook has said nothing: not with fields, either."""
        if self._kind == HOOK_REQUEST:
            self._request.headers.change_back(self._before)
        elif self._response is not None:
            self._response.headers.change_back(self._before)

    def _disown(self) -> None:
        """Whoever was cut off may still hold the request, or the answer: let it change nothing any more."""
        response = self._response
        if response is not None and self._head is not None:
            response.headers.close(_CUT_OFF)
            self._response = PluginResponse(self._head)
            self._response.headers.change_back(self._before)
        elif self._kind == HOOK_REQUEST:
            self._request = self._request.renewed(self._before)
            self._request.headers.open_for_changes()

    # What they say.

    def _take(self, hook: Hook, said: object) -> bool:
        """Do what a hook says. True: nobody else of this kind is asked, and the exchange has gone on."""
        if said is None:
            return False
        kind = self._kind
        if kind == HOOK_UNIT:
            unit = said.encode("utf-8", "surrogateescape") if isinstance(said, str) else said
            if isinstance(unit, bytes) and len(unit) <= MAX_UNIT:
                if unit:
                    self._passage.begin(unit, hook.plugin.label)
                return bool(unit)
            hook.failed(CAUSE_INVALID, None, f"a unit is str or bytes of {MAX_UNIT} bytes at most, or None")
        elif kind == HOOK_DECIDE:
            decision = self._decision
            if isinstance(said, str) and decision is not None:
                other = override(self._passage.route, decision, said, hook.plugin.label)
                if other is not None:
                    if other is not decision:
                        hook.plugin.runtime.view[hook.plugin.slot + P_OVERRIDDEN] += 1
                    self._set_off(other)
                    return True
            hook.failed(CAUSE_INVALID, None, "a decision is the name of a version that this unit can have, or None")
        elif kind == HOOK_REQUEST and isinstance(said, Answer):
            hook.plugin.runtime.view[hook.plugin.slot + P_ANSWERED] += 1
            self._answer(said)
            return True
        else:
            wanted = "an Answer or None" if kind == HOOK_REQUEST else "None"
            hook.failed(CAUSE_INVALID, None, f"it says {wanted}, not {type(said).__name__}")
        self._undo()
        return False

    def _spoken(self) -> None:
        """All of this kind were asked, and none had the last word."""
        kind = self._kind
        decision = self._decision
        if kind == HOOK_UNIT:
            self._passage.begin(None, "")
        elif kind == HOOK_DECIDE and decision is not None:
            self._set_off(decision)
        elif kind == HOOK_REQUEST:
            self._leave()
        elif kind == HOOK_RESPONSE:
            self._pass_on()

    def propose(self, decision: Decision, source: str) -> None:
        """This was decided, for a unit from `source`, unless a hook says otherwise."""
        self._source = source
        self._decision = decision
        if self._plugged.hooks[HOOK_DECIDE] and may_be_overridden(decision):
            self._ask(HOOK_DECIDE)
        else:
            self._set_off(decision)

    def _set_off(self, decision: Decision) -> None:
        passage = self._passage
        self._decision = None
        passage.runtime.view[passage.version.slot + V_IN_FLIGHT] -= (
            1  # of the default version, where it counted meanwhile
        )
        if passage.set_off(decision, self._source, self._dropped):
            self._request.version = passage.version.name
            self._request.headers.open_for_changes()
            self._ask(HOOK_REQUEST)

    def _leave(self) -> None:
        passage = self._passage
        changes = self._request.headers.changes
        self._request.headers.close("the request has gone on")
        early = self._early
        self._early = None
        passage.leave(self._dropped, changes)
        for data, trailers in early or ():
            if trailers is None:
                passage.body(data)
            else:
                passage.last_body(data, trailers)

    def keeps_body(self, data: bytes, trailers: list[bytes] | None) -> bool:
        """Whether this of the request's body waits here; `trailers` are those at its end, None before it. The client is read no
        further meanwhile."""
        early = self._early
        if early is None:
            return False
        early.append((data, trailers))
        return True

    def _answer(self, answer: Answer) -> None:
        passage = self._passage
        status = answer.status
        fields: dict[bytes, list[bytes]] = answer.headers.changes
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Said')}".encode()]
        if b"date" not in fields:
            lines.append(b"date: " + formatdate(passage.runtime.wall(), usegmt=True).encode())
        for name, values in fields.items():
            lines.extend([name + b": " + value for value in values])
        body = answer.body
        if status not in _UNFRAMED:
            lines.append(b"content-length: %d" % len(body))
        head = b"\r\n".join(lines) + b"\r\n"
        passage.answer(status, head, b"" if passage.method == b"HEAD" else body, -1, PL, False)

    # The answer.

    def ask_of_answer(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        """The head of the answer is there; it is passed on when the hooks have seen it."""
        self._seen = True
        if not self._plugged.hooks[HOOK_RESPONSE]:
            self.passed = True
            self._passage.pass_on(response, body, complete, trailers)
            return
        self._head = response
        self._response = PluginResponse(response)
        self._body = body
        self._complete = complete
        self._trailers = trailers
        self._ask(HOOK_RESPONSE)

    def ask_of_stored(self, status: int, head: bytes, body: bytes, served: int, flag: Flag | None, stale: bool) -> bool:
        """The same of an answer that was stored (`Passage.answer`): False where nobody asks about it, or they have spoken."""
        if self._seen or served < 0 or not self._plugged.hooks[HOOK_RESPONSE]:
            return False
        self._seen = True
        start, *lines = head.removesuffix(b"\r\n").split(b"\r\n")
        read: list[FieldLine] = []
        marks = read_lines(lines, read)
        self._head = Response(status, start, 1, lines, read, marks, len(body), False, True, False, not body)
        self._response = PluginResponse(self._head)
        self._stored = Stored(status, body, served, flag, stale)
        self._ask(HOOK_RESPONSE)
        return True

    def keep_answer(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        """More of its body, while its head waits; reading has stopped, so that this is little."""
        self._later.append((data, complete, trailers))

    def broke(self, flag: Flag) -> None:
        """Its connection has ended, while its head waits."""
        self._broken = flag

    def _pass_on(self) -> None:
        passage = self._passage
        response = self._head
        seen = self._response
        if response is None or seen is None:
            return
        changes: dict[bytes, list[bytes]] = seen.headers.changes
        seen.headers.close("the answer has gone on")
        if changes:
            response = changed_response(response, changes)
        stored = self._stored
        if stored is not None:
            self.holds_answer = False
            head = b"\r\n".join((response.start, *response.lines, b""))
            passage.answer(stored.status, head, stored.body, stored.served, stored.flag, stored.stale)
            return
        broken = self._broken
        if self.holds_answer:
            self.holds_answer = False
            if broken is None:
                passage.hold_upstream(False)
        self.passed = True
        passage.pass_on(response, self._body, self._complete, self._trailers)
        later = self._later
        self._later = []
        for data, complete, trailers in later:
            if not passage.over:
                passage.on_body(data, complete, trailers)
        if broken is not None and not passage.over:
            passage.on_broken(broken, False)
