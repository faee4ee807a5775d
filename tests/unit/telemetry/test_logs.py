import contextlib
import io
import json
import logging

import pytest

from proxy.telemetry.logs import BURST, WINDOW, LogWriter, install


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def lines_of(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_lines_are_json(clock):
    stream = io.StringIO()
    LogWriter(stream, style="auto", clock=clock).line("info", "took it", {"generation": 3})
    assert lines_of(stream) == [
        {
            "time": "2023-11-14T22:13:20.000Z",
            "level": "info",
            "logger": "tidegate",
            "message": "took it",
            "generation": 3,
        }
    ]


def test_on_a_terminal_people_read_it_and_nobody_steers_it(clock):
    stream = Terminal()
    LogWriter(stream, style="auto", clock=clock).line("warning", "bad\x1b[2J\nforged", {"path": "a b", "n": 1})
    text = stream.getvalue()
    assert text.startswith("22:13:20.000 ")
    assert "warning" in text
    assert "bad\\x1b[2J\\nforged" in text
    assert text.endswith('  path="a b"  n=1\n')


def test_a_message_that_repeats_is_held_back_and_summed_up(clock):
    stream = io.StringIO()
    writer = LogWriter(stream, style="json", clock=clock)
    for _ in range(BURST + 3):
        writer.line("error", "connect failed")
    assert len(lines_of(stream)) == BURST
    clock.now += WINDOW
    writer.tick()
    writer.tick()
    assert lines_of(stream)[BURST:] == [
        {
            "time": "2023-11-14T22:13:30.000Z", "level": "error", "logger": "tidegate",
            "message": "repeated 3 times: connect failed", "repeated": 3,
        }
    ]  # fmt: skip
    assert writer.repeated == 3
    writer.line("error", "connect failed")
    assert len(lines_of(stream)) == BURST + 2


def test_closing_says_what_was_held_back(clock):
    stream = io.StringIO()
    writer = LogWriter(stream, style="json", clock=clock)
    for _ in range(BURST + 1):
        writer.line("info", "again")
    writer.close()
    assert lines_of(stream)[-1]["message"] == "repeated once: again"


def test_records_are_alike_by_template_and_not_by_arguments(clock):
    stream = io.StringIO()
    writer = LogWriter(stream, style="json", clock=clock)
    logger = logging.Logger("tidegate.pool")  # noqa: LOG001 - one that nobody else has
    logger.addHandler(writer)
    for number in range(BURST + 2):
        logger.warning("endpoint %d is down", number, extra={"fields": {"endpoint": number}})
    assert [line["endpoint"] for line in lines_of(stream)] == list(range(BURST))


def test_windows_are_bounded_and_survive_a_clock_that_goes_back(clock, monkeypatch):
    monkeypatch.setattr("proxy.telemetry.logs.MESSAGES", 2)
    stream = io.StringIO()
    writer = LogWriter(stream, style="json", clock=clock)
    for _ in range(BURST + 1):
        writer.line("info", "one")
    writer.line("info", "two")
    writer.line("info", "three")
    assert [line["message"] for line in lines_of(stream)][-2:] == ["repeated once: one", "three"]
    clock.now -= 86_400
    for _ in range(BURST):
        writer.line("info", "three")
    assert [line["message"] for line in lines_of(stream)][-BURST:] == ["three"] * BURST


def test_a_full_disk_and_a_closed_stream_are_counted_and_raise_nothing(clock):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        writer = LogWriter(full, style="json", clock=clock)
        writer.line("info", "lost")
        assert writer.lost == 1
        full.buffer.raw.seek(0)
        with contextlib.suppress(OSError):
            full.close()
    writer.line("info", "lost too")
    assert writer.lost == 2


def test_an_exception_and_arguments_that_do_not_fit_are_still_logged(clock):
    stream = io.StringIO()
    logger = logging.Logger("tidegate")  # noqa: LOG001
    logger.addHandler(LogWriter(stream, style="json", clock=clock))
    try:
        raise KeyError("gone")  # noqa: TRY301
    except KeyError:
        logger.exception("it broke")
    logger.info("%d", "no number")
    first, second = lines_of(stream)
    assert "KeyError: 'gone'" in first["exception"]
    assert second["message"].startswith("%d (")


def test_fields_never_replace_what_a_line_says_itself(clock):
    stream = io.StringIO()
    LogWriter(stream, style="json", clock=clock).line("info", "true", {"message": "forged", "x": object})
    (line,) = lines_of(stream)
    assert line["message"] == "true"
    assert line["x"] == "<class 'object'>"


def test_lines_below_the_level_stay_out_and_install_replaces_itself(clock):
    root = logging.getLogger()
    before = list(root.handlers), root.level
    stream = io.StringIO()
    try:
        first = install(clock=clock, stream=io.StringIO())
        second = install(clock=clock, stream=stream, level="warning")
        assert first not in root.handlers
        logging.getLogger("tidegate.x").info("no")
        logging.getLogger("tidegate.x").warning("yes")
        second.line("info", "no")
        assert [line["message"] for line in lines_of(stream)] == ["yes"]
    finally:
        root.handlers[:], root.level = before
