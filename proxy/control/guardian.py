"""The first process: small enough not to fail, so that the death of the control process is not the container's.

It starts control in a session of its own (a terminal's Ctrl-C then reaches the guardian alone, which passes it on), hands
signals over, reaps orphans as PID 1 must, and starts control again when that dies unexpectedly. Meanwhile the workers go
on serving: they become the guardian's children, and the new control takes them over.

Control is forked, not executed: nothing has to be imported twice, and the guardian's own pages stay shared. The guardian
has one thread and no event loop; it sleeps in sigwaitinfo() with all its signals blocked, so no signal is ever lost
between two states.
"""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from proxy.control.backoff import Backoff
from proxy.control.process import become_subreaper, children, die_with_parent

Start = Callable[[int], int]
"""Runs control and returns its exit code. The argument counts the starts before this one."""

OK: Final = 0
BAD_CONFIGURATION: Final = 1
BAD_USAGE: Final = 2
INTERNAL: Final = 70
"""Exit code of a control process that died of an exception (EX_SOFTWARE in sysexits.h)."""

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
PASSED_ON: Final = (*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_AWAITED: Final = (*PASSED_ON, signal.SIGCHLD)

_STEADY: Final = 60.0  # seconds of life after which earlier deaths are forgotten
_LAST_WAIT: Final = 10.0  # seconds for workers to end when there is no control to drain them

Say = Callable[[str, str], None]
"""Writes one line to the log: level, message."""


class Guardian:
    """Watches one control process. `run` returns when control has ended on purpose."""

    def __init__(self, start: Start, say: Say, first_delay: float = 0.1) -> None:
        self._start: Final = start
        self._say: Final = say
        self._backoff: Final = Backoff(first_delay, 10.0, random.random)
        self._starts = 0
        self._control = 0  # pid; 0 while there is none
        self._born = 0.0
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
        self._launch()
        while True:
            code = self._reap()
            if code is not None:
                return code
            number = self._wait()
            if number is None:
                self._launch()
            elif number in PASSED_ON:
                code = self._pass_on(number)
                if code is not None:
                    return code

    def _launch(self) -> None:
        guardian = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._become_control(guardian))
        self._control = pid
        self._born = time.monotonic()
        self._starts += 1

    def _become_control(self, guardian: int) -> int:
        """In the child. Signals stay blocked until control has installed its handlers: none may kill it before."""
        code = INTERNAL
        try:
            os.setsid()
            die_with_parent(signal.SIGTERM, guardian)
            code = self._start(self._starts)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else INTERNAL
        except BaseException:  # noqa: BLE001 - the last frame of the process: whatever it was, it is shown
            sys.excepthook(*sys.exc_info())
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        return code

    def _wait(self) -> int | None:
        """The next signal, or None when it is time to start control again."""
        if self._control:
            return signal.sigwaitinfo(_AWAITED).si_signo
        info = signal.sigtimedwait(_AWAITED, max(0.0, self._due - time.monotonic()))
        return None if info is None else info.si_signo

    def _pass_on(self, number: int) -> int | None:
        self._ending = self._ending or number in ENDING
        if self._control:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._control, number)
            return None
        if self._ending:
            self._end_workers()
            return OK
        self._due = time.monotonic()  # whoever asks for a reload does not want to wait for the back-off
        return None

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
            if pid == self._control:
                self._control = 0
                code = self._judge(os.waitstatus_to_exitcode(status))

    def _judge(self, code: int) -> int | None:
        """What control's end means: its exit code, or None when it is started again."""
        if self._ending:
            self._end_workers()  # none is left of a control that has drained
            return OK if code == -signal.SIGTERM else abs(code)
        if code in {OK, BAD_USAGE}:
            return code
        if code == BAD_CONFIGURATION and not _has_children():
            return code
        if time.monotonic() - self._born >= _STEADY:
            self._backoff.reset()
        delay = self._backoff.next()
        self._due = time.monotonic() + delay
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._say("error", f"the control process {how}; the workers go on; starting it again in {delay:.1f} s")
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
