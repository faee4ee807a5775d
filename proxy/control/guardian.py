"""The first process: small enough not to fail, so that the death of the control process is not the container's.

It starts control in a session of its own (a terminal's Ctrl-C then reaches the guardian alone, which passes it on), hands
signals over, reaps orphans as PID 1 must, and starts control again when that dies unexpectedly. Meanwhile the workers go
on serving: they become the guardian's children, and the new control takes them over.

Control is forked, not executed: nothing has to be imported twice, and the guardian's own pages stay shared. The guardian
has one thread and no event loop; it sleeps in sigwaitinfo() with all its signals blocked, so no signal is ever lost
between two states.

An upgrade is a second control process, of another program, beside the first: control asks for it on its line (errand.py).
The newcomer asks the first for its place, which then ends with `HANDED_OVER`, and says when its workers serve. From then on
it is control, and its program is what is started again when it dies. If it ends before, or is not ready in time, it is
killed; the first goes on, or is started again if it has handed over already, and takes the workers back.
"""

import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from proxy.control.errand import Errand, Line, line_pair
from proxy.control.process import become_subreaper, children, die_with_parent
from proxy.core.backoff import Backoff

Start = Callable[[Errand], int]
"""Runs control and returns its exit code."""

OK: Final = 0
BAD_CONFIGURATION: Final = 1
BAD_USAGE: Final = 2
HANDED_OVER: Final = 75
"""Exit code of a control process whose place another one takes (EX_TEMPFAIL in sysexits.h)."""
INTERNAL: Final = 70
"""Exit code of a control process that died of an exception (EX_SOFTWARE in sysexits.h)."""

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
PASSED_ON: Final = (*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_AWAITED: Final = (*PASSED_ON, signal.SIGCHLD)

LONGEST_UPGRADE: Final = 86400.0
"""Seconds that a successor may take until it serves."""
_STEADY: Final = 60.0  # seconds of life after which earlier deaths are forgotten
_LAST_WAIT: Final = 10.0  # seconds for workers to end when there is no control to drain them

Say = Callable[[str, str], None]
"""Writes one line to the log: level, message."""


class Program:
    """A program other than the guardian's own: how its control process is started."""

    def __init__(self, request: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError for what is no request: one may come from any version of this program."""
        self.command: Final = _words(request["command"])
        self.first: Final = _words(request["first"])
        environ = dict(request["environ"])
        _words([*environ, *environ.values()])
        self.environ: Final[dict[str, str]] = environ
        self.limit: Final = float(request["limit"])
        if not self.command or not 0 < self.limit <= LONGEST_UPGRADE:
            raise ValueError(f"no command, or a limit that is not between 0 and {LONGEST_UPGRADE:g} s")


def _words(given: list[Any]) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise TypeError("words are wanted")
    return given


class Child:
    """A control process and the guardian's end of the line to it. `program` is None for the guardian's own."""

    def __init__(self, pid: int, line: Line, program: Program | None) -> None:
        self.pid: Final = pid
        self.line: Final = line
        self.program: Final = program
        self.born: Final = time.monotonic()


class Guardian:
    """Watches one control process. `run` returns when control has ended on purpose."""

    def __init__(self, start: Start, say: Say, first_delay: float = 0.1) -> None:
        self._start: Final = start
        self._say: Final = say
        self._backoff: Final = Backoff(first_delay, 10.0, random.random)
        self._starts = 0
        self._control: Child | None = None
        self._successor: Child | None = None
        self._program: Program | None = None  # what is started when control has died
        self._failure = ""
        self._given_up = ""  # why the last successor was
        self._due = 0.0
        self._ending = False

    def run(self) -> int:
        """Start control and stay until it is done. The exit code: control's own.

        0 drained, 1 the configuration was wrong and nothing serves, 2 usage.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        try:
            become_subreaper()
        except OSError as error:
            self._say("warning", f"cannot adopt orphaned workers ({error}): a dead control's workers go to PID 1")
        self._control = self._launch(self._program)
        while True:
            number = self._wait()
            if number is None:
                self._too_late()
            elif number == signal.SIGUSR2:
                self._listen()
            code = self._reap()
            if code is None and number in PASSED_ON and number != signal.SIGUSR2:
                code = self._pass_on(number)  # after the dead are collected: one of them would not hear it
            if code is not None:
                return code

    def _launch(self, program: Program | None, *, first: bool = False) -> Child:
        guardian = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        ours, theirs = line_pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            if program is None:
                os._exit(self._become_control(guardian, Line(theirs, guardian)))
            _become(program, guardian, theirs, first=first)
        theirs.close()
        self._starts += 1
        self._failure = ""
        return Child(pid, Line(ours), program)

    def _become_control(self, guardian: int, line: Line) -> int:
        """In the child. Signals stay blocked until control has installed its handlers: none may kill it before."""
        code = INTERNAL
        try:
            os.setsid()
            die_with_parent(signal.SIGTERM, guardian)
            code = self._start(Errand(self._starts, line, self._failure))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else INTERNAL
        except BaseException:  # noqa: BLE001 - the last frame of the process: whatever it was, it is shown
            sys.excepthook(*sys.exc_info())
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        return code

    def _wait(self) -> int | None:
        """The next signal, or None when the time is over for which the guardian waits."""
        if self._successor is not None:
            assert self._successor.program is not None  # noqa: S101 - our own program never succeeds itself
            due = self._successor.born + self._successor.program.limit
        elif self._control is not None:
            return signal.sigwaitinfo(_AWAITED).si_signo
        else:
            due = self._due
        info = signal.sigtimedwait(_AWAITED, max(0.0, due - time.monotonic()))
        return None if info is None else info.si_signo

    def _too_late(self) -> None:
        successor = self._successor
        if successor is None:
            self._control = self._launch(self._program)
        else:
            self._give_up(f"the new program did not serve within {time.monotonic() - successor.born:.0f} s")

    def _pass_on(self, number: int) -> int | None:
        self._ending = self._ending or number in ENDING
        if self._ending and self._control is None:
            self._control, self._successor = self._successor, None  # who has the workers drains them
        running = self._control or self._successor
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, number)
            return None
        if self._ending:
            self._end_workers()
            return OK
        self._due = time.monotonic()  # whoever asks for a reload does not want to wait for the back-off
        return None

    def _listen(self) -> None:
        """SIGUSR2: one of our children has said something. Others who send it are not heard."""
        control, successor = self._control, self._successor
        if control is not None:
            for message in control.line.heard():
                if "upgrade" in message and not self._ending:
                    self._begin_upgrade(control, message["upgrade"])
        if successor is not None and any(message.get("ready") for message in successor.line.heard()):
            self._control, self._successor = successor, None
            self._program = successor.program
            if control is not None:
                control.line.close()
            self._backoff.reset()
            if self._ending:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(successor.pid, signal.SIGTERM)
            self._say("info", f"upgraded: process {successor.pid} is control now")

    def _begin_upgrade(self, control: Child, request: dict[str, Any]) -> None:
        if self._successor is not None:
            control.line.say({"failed": "another upgrade is under way"})
            return
        try:
            program = Program(request)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            control.line.say({"failed": f"the request cannot be understood by the guardian: {error!r}"})
            return
        self._successor = self._launch(program, first=True)
        self._say("info", f"upgrade: process {self._successor.pid} starts the new program")

    def _give_up(self, why: str) -> None:
        """The successor is no good. Who had the place before keeps it, or takes it back."""
        if self._successor is not None:
            self._end_successor(self._successor)
            self._successor = None
        self._given_up = why
        self._say("error", f"upgrade given up: {why}; the program before goes on")
        if self._control is not None:
            self._control.line.say({"failed": why})
        elif not self._ending:
            self._failure = why
            self._control = self._launch(self._program)

    def _end_successor(self, successor: Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(successor.pid, signal.SIGKILL)
        successor.line.close()

    def _reap(self) -> int | None:
        """Collect every child that has ended. The exit code when control was among them and is not to come back."""
        code: int | None = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            ended = os.waitstatus_to_exitcode(status)
            if self._successor is not None and pid == self._successor.pid:
                self._give_up(f"the new program {_how(ended)} before it served; its log lines say why")
            elif self._control is not None and pid == self._control.pid:
                self._listen()  # what it said before it ended
                control = self._control
                if pid == control.pid:
                    control.line.close()
                    self._control = None
                    code = self._judge(ended, control.born)

    def _judge(self, code: int, born: float) -> int | None:
        """What control's end means: its exit code, or None when it is started again."""
        successor = self._successor
        if self._ending and successor is not None:
            self._successor = None
            if code == HANDED_OVER:
                self._control = successor
                with contextlib.suppress(ProcessLookupError):
                    os.kill(successor.pid, signal.SIGTERM)
                return None
            self._end_successor(successor)
        if self._ending:
            self._end_workers()  # none is left of a control that has drained
            return OK if code == -signal.SIGTERM else abs(code)
        if successor is not None and code not in {OK, BAD_USAGE}:
            return None  # handed over, or dead: either way the successor is on its way
        if code in {OK, BAD_USAGE}:
            if successor is not None:
                self._end_successor(successor)
            return code
        if code == HANDED_OVER:  # to one that was given up in the same moment: nobody has told that
            self._failure = self._given_up
        if code == BAD_CONFIGURATION and not _has_children():
            return code
        if time.monotonic() - born >= _STEADY:
            self._backoff.reset()
        delay = self._backoff.next()
        self._due = time.monotonic() + delay
        self._say("error", f"the control process {_how(code)}; the workers go on; starting it again in {delay:.1f} s")
        return None

    def _end_workers(self) -> None:
        """Asked to end without a control that could drain the workers: nobody else is left to tell them."""
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        limit = time.monotonic() + _LAST_WAIT
        while _collect():
            left = limit - time.monotonic()
            if left <= 0 or (info := signal.sigtimedwait(_AWAITED, left)) is None or info.si_signo in ENDING:
                self._say("warning", "workers did not end in time; killing them")
                for pid in children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return


def _become(program: Program, guardian: int, line: socket.socket, *, first: bool) -> NoReturn:
    """In the child: be another program's control process. Signals stay blocked until it has installed its handlers."""
    try:
        os.setsid()
        die_with_parent(signal.SIGTERM, guardian)
        line.set_inheritable(True)
        command = [*program.command, "--line", str(line.fileno()), *(program.first if first else ())]
        os.execvpe(command[0], command, {**os.environ, **program.environ})  # noqa: S606 - no shell is meant
    except BaseException:  # noqa: BLE001 - the last frame of the process: whatever it was, it is shown
        sys.excepthook(*sys.exc_info())
    os._exit(INTERNAL)


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _collect() -> bool:
    """Collect children that have ended, whatever they were; whether one is left alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _has_children() -> bool:
    """Whether a child is left, alive or not waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
