"""The first process, with real children: what it starts again, what it passes on, and what it exits with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.control.errand import Line, line_pair
from proxy.control.process import birth

pytestmark = pytest.mark.slow


class Guarded:
    def __init__(self, manner, first_delay=0.01):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.control.guarded", manner, str(first_delay)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self):
        return self.process.stdout.readline().split()

    def control(self):
        """The pid of the next control process that starts, and how many there were before it."""
        while (words := self.line())[0] != "control":
            pass
        assert words[3] == "True"  # in a session of its own
        return int(words[1]), int(words[2])

    def send(self, number):
        os.kill(self.process.pid, number)

    def end(self):
        """The exit code and what was said on standard error."""
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors


@pytest.fixture
def guard():
    made = []

    def make(*arguments):
        made.append(Guarded(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("code", [0, 1, 2])
def test_control_that_ends_on_purpose_ends_the_guardian_with_its_code(guard, code):
    assert guard(f"exit{code}").end()[0] == code


def test_a_killed_control_is_started_again(guard):
    guarded = guard("wait")
    first, starts = guarded.control()
    assert starts == 0
    os.kill(first, signal.SIGKILL)
    line = " ".join(guarded.line())
    assert line.startswith(
        "log error the control process was killed by SIGKILL; the workers go on; starting it again in"
    )
    second, starts = guarded.control()
    assert (second != first, starts) == (True, 1)
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_control_that_dies_of_an_exception_is_started_again_and_shows_it(guard):
    guarded = guard("raise")
    assert guarded.control()[1] == 0
    assert guarded.control()[1] == 1
    guarded.process.kill()
    assert "RuntimeError: control is broken" in guarded.end()[1]


def test_signals_are_passed_on_and_none_kills_a_control_that_is_not_ready_for_it(guard):
    guarded = guard("wait")
    guarded.control()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
        guarded.send(number)
        assert guarded.line() == ["signal", number.name]
    assert guarded.end()[0] == 0


def test_control_drains_when_the_guardian_is_killed(guard):
    guarded = guard("wait")
    pid, _ = guarded.control()
    guarded.process.kill()
    assert guarded.line() == ["signal", "SIGTERM"]
    guarded.end()
    assert gone(pid)


def test_a_bad_configuration_found_by_a_later_start_does_not_end_workers_that_serve(guard):
    guarded = guard("later1")
    pid, _ = guarded.control()
    worker = int(guarded.line()[1])
    os.kill(pid, signal.SIGKILL)
    assert guarded.control()[1] == 1
    assert guarded.control()[1] == 2
    assert birth(worker) is not None
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] in {0, 1}
    assert gone(worker)


@pytest.mark.parametrize(("manner", "signals"), [("worker", 1), ("stubborn", 2)])
def test_asked_to_end_while_control_is_down_it_ends_the_workers(guard, manner, signals):
    guarded = guard(manner, 60.0)
    pid, _ = guarded.control()
    worker = int(guarded.line()[1])
    os.kill(pid, signal.SIGKILL)
    assert guarded.line()[0] == "log"
    for _ in range(signals):
        guarded.send(signal.SIGTERM)
        assert taken(guarded.process.pid, signal.SIGTERM)  # two of the same kind at once are one
    assert guarded.end()[0] == 0
    assert gone(worker)


def test_sighup_ends_the_wait_for_the_next_start(guard):
    guarded = guard("wait", 60.0)
    pid, _ = guarded.control()
    os.kill(pid, signal.SIGKILL)
    assert guarded.line()[0] == "log"
    guarded.send(signal.SIGHUP)
    assert guarded.control()[1] == 1
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


# Upgrades.


def heard(guarded, word):
    """The next line that begins with `word`."""
    while (words := guarded.line())[0] != word:
        assert words, "it has ended"
    return words


def upgrading(guard, manner):
    """A guardian with an upgrade under way; the pids of control and of its successor."""
    guarded = guard(f"upgrade:{manner}")
    control, _ = guarded.control()
    guarded.send(signal.SIGHUP)
    _, pid, first, session, mark = heard(guarded, "successor")
    assert (first, session, mark) == ("True", "True", "new")
    return guarded, control, int(pid)


def test_a_successor_that_is_ready_is_control_from_then_on(guard):
    guarded, control, successor = upgrading(guard, "ready")
    os.kill(control, signal.SIGUSR1)
    while "upgraded:" not in heard(guarded, "log"):
        pass
    assert gone(control)
    guarded.send(signal.SIGUSR1)
    assert heard(guarded, "new") == ["new", "SIGUSR1"]
    os.kill(successor, signal.SIGKILL)  # what is started again is the new program, and it succeeds nobody
    _, pid, first, *_ = heard(guarded, "successor")
    assert (int(pid) != successor, first) == (True, "False")
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_a_successor_that_ends_leaves_control_where_it_is_and_says_why(guard):
    guarded, _, _ = upgrading(guard, "fails")
    assert "ended with code 3 before it served" in " ".join(heard(guarded, "heard"))
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_a_successor_that_is_late_is_killed(guard):
    guarded, _, successor = upgrading(guard, "silent:0.4")
    assert "did not serve within" in " ".join(heard(guarded, "heard"))
    assert gone(successor)
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_control_that_hands_over_to_one_that_was_given_up_is_started_again_and_told_why(guard):
    guarded, control, successor = upgrading(guard, "silent:0.4")
    assert "did not serve within" in " ".join(heard(guarded, "heard"))
    assert gone(successor)
    os.kill(control, signal.SIGUSR1)
    pid, _ = guarded.control()
    assert pid != control
    assert "did not serve within" in " ".join(heard(guarded, "failure"))
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_what_is_too_long_for_the_line_is_not_said_and_what_is_no_message_not_heard():
    ours, theirs = line_pair()
    with ours, theirs:
        line = Line(ours)
        assert not line.say({"upgrade": "x" * (1 << 16)})
        ours.send(b'{"upgrade": ')
        assert line.say({"ready": True})
        assert Line(theirs).heard() == [{"ready": True}]


@pytest.mark.parametrize("limit", ["inf", "nan", "-1", "1e18", "odd"])
def test_a_request_that_makes_no_sense_is_refused_and_ends_nobody(guard, limit):
    guarded = guard(f"upgrade:ready:{limit}")
    first, _ = guarded.control()
    guarded.send(signal.SIGHUP)
    assert "cannot be understood" in " ".join(heard(guarded, "heard"))
    assert birth(first) is not None
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_after_it_has_handed_over_control_is_started_again_where_the_successor_fails(guard):
    guarded, control, successor = upgrading(guard, "silent")
    os.kill(control, signal.SIGUSR1)
    assert gone(control)
    os.kill(successor, signal.SIGKILL)
    pid, starts = guarded.control()
    assert (pid != control, starts) == (True, 2)
    assert "was killed by SIGKILL before it served" in " ".join(heard(guarded, "failure"))
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_a_control_that_dies_during_an_upgrade_is_followed_by_the_successor(guard):
    guarded, control, successor = upgrading(guard, "silent")
    os.kill(control, signal.SIGKILL)
    assert gone(control)
    guarded.send(signal.SIGHUP)
    assert heard(guarded, "new") == ["new", "SIGHUP"]
    assert birth(successor) is not None
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


def test_a_signal_that_comes_with_the_end_of_control_goes_to_who_lives(guard):
    guarded, control, successor = upgrading(guard, "silent")
    guarded.send(signal.SIGSTOP)  # so that it finds both when it goes on
    os.kill(control, signal.SIGKILL)
    assert gone(control)
    guarded.send(signal.SIGHUP)
    guarded.send(signal.SIGCONT)
    assert heard(guarded, "new") == ["new", "SIGHUP"]
    assert birth(successor) is not None
    guarded.send(signal.SIGTERM)
    assert guarded.end()[0] == 0


@pytest.mark.parametrize("handed_over", [False, True])
def test_asked_to_end_during_an_upgrade_whoever_has_the_workers_drains_them(guard, handed_over):
    guarded, control, successor = upgrading(guard, "silent")
    if handed_over:
        os.kill(control, signal.SIGUSR1)
        assert gone(control)
    guarded.send(signal.SIGTERM)
    word = "new" if handed_over else "signal"
    while heard(guarded, word)[1] != "SIGTERM":
        pass
    assert guarded.end()[0] == 0
    assert gone(successor)


def test_sigusr2_from_elsewhere_means_nothing(guard):
    guarded = guard("wait")
    guarded.control()
    guarded.send(signal.SIGUSR2)
    guarded.send(signal.SIGTERM)
    assert guarded.line() == ["signal", "SIGTERM"]
    assert guarded.end()[0] == 0


def gone(pid):
    """Whether a process ends within a few seconds."""
    limit = time.monotonic() + 5
    while birth(pid) is not None and time.monotonic() < limit:
        time.sleep(0.01)
    return birth(pid) is None


def taken(pid, number):
    """Whether a process takes the pending signal within a few seconds, or ends."""
    limit = time.monotonic() + 5
    while pending(pid) >> (number - 1) & 1 and time.monotonic() < limit:
        time.sleep(0.01)
    return not pending(pid) >> (number - 1) & 1


def pending(pid):
    """The set of signals that wait for a process, as a bit mask; empty for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0
    return int(status.partition("ShdPnd:")[2].split()[0], 16)
