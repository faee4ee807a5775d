"""The log: one writer for the control process and, through it, for the workers.

The front is stdlib logging: `logging.getLogger("tidegate.reload").info("text", extra={"fields": {...}})`. On a terminal
people read it, elsewhere it is JSON lines. The same message again and again is held back after a few, and how often it
was is said when its window ends. Nothing here ever raises: a line that cannot be written is counted.
"""

import json
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TextIO

BURST: Final = 5
"""Lines of one message that are written within a window."""
WINDOW: Final = 10.0
"""Seconds."""
MESSAGES: Final = 1000
"""Messages remembered at a time; beyond, the oldest window ends early."""

AUTO: Final = "auto"
HUMAN: Final = "human"
JSON: Final = "json"

ROOT: Final = "tidegate"

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


class _Window:
    __slots__ = ("ends", "held", "level", "logger", "text", "written")

    def __init__(self, ends: float, level: str, logger: str, text: str) -> None:
        self.ends = ends
        self.level = level
        self.logger = logger
        self.text = text
        self.written = 0
        self.held = 0


class LogWriter(logging.Handler):
    """Writes lines to `stream`. `clock` gives Unix seconds. `lost` counts lines not written, `repeated` those held
    back."""

    def __init__(self, stream: TextIO, *, style: str, clock: Callable[[], float]) -> None:
        """`style` is auto (human on a terminal, JSON elsewhere), human or json."""
        super().__init__()
        self.lost = 0
        self.repeated = 0
        self._stream: Final = stream
        self._clock: Final = clock
        self._terminal: Final = _is_terminal(stream)
        self._json: Final = style == JSON or (style == AUTO and not self._terminal)
        self._windows: Final[OrderedDict[tuple[str, str, str], _Window]] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record of stdlib logging; its template, not its filled-in text, says whether it is a repetition."""
        try:
            text = record.getMessage()
            fields = dict(getattr(record, "fields", None) or {})
            if record.exc_info and record.exc_info[1] is not None:
                fields["exception"] = logging.Formatter().formatException(record.exc_info)
        except (TypeError, ValueError, KeyError) as error:  # arguments that do not fit the template
            text, fields = f"{record.msg} ({error})", {}
        self.line(record.levelname.lower(), text, fields, logger=record.name, key=str(record.msg))

    def line(
        self, level: str, text: str, fields: dict[str, Any] | None = None, *, logger: str = ROOT, key: str | None = None
    ) -> None:
        """Write one line, unless its like was just written `BURST` times. `key` says what is alike; default: the
        text."""
        if _LEVELS.get(level, 20) < self.level:
            return
        self.acquire()  # log_file.py reports from its thread
        try:
            now = self._clock()
            self._end_windows(now)
            place = (logger, level, text if key is None else key)
            window = self._windows.get(place)
            if window is None:
                if len(self._windows) >= MESSAGES:
                    self._end(self._windows.popitem(last=False)[1], now)
                window = self._windows[place] = _Window(now + WINDOW, level, logger, text)
            if window.written >= BURST:
                window.held += 1
                self.repeated += 1
                return
            window.written += 1
            self._write(now, level, logger, text, fields or {})
        finally:
            self.release()

    def tick(self) -> None:
        """End the windows whose time is over; to be called every few seconds, lest a summary wait for the next line."""
        self.acquire()
        try:
            self._end_windows(self._clock())
        finally:
            self.release()

    def close(self) -> None:
        """Say what was held back, and stop."""
        self.acquire()
        try:
            now = self._clock()
            while self._windows:
                self._end(self._windows.popitem(last=False)[1], now)
        finally:
            self.release()
        super().close()

    def _end_windows(self, now: float) -> None:
        windows = self._windows
        while windows:
            window = next(iter(windows.values()))  # all are equally long: the first made ends first
            if window.ends > now >= window.ends - 2 * WINDOW:  # a clock set far back ends them too
                return
            windows.popitem(last=False)
            self._end(window, now)

    def _end(self, window: _Window, now: float) -> None:
        if window.held:
            times = "once" if window.held == 1 else f"{window.held} times"
            text = f"repeated {times}: {window.text}"
            self._write(now, window.level, window.logger, text, {"repeated": window.held})

    def _write(self, now: float, level: str, logger: str, text: str, fields: dict[str, Any]) -> None:
        render = self._render_json if self._json else self._render_human
        try:
            self._stream.write(render(now, level, logger, text, fields))
            self._stream.flush()
        except (OSError, ValueError):  # a full disk or a closed pipe; a closed stream
            self.lost += 1

    def _render_json(self, now: float, level: str, logger: str, text: str, fields: dict[str, Any]) -> str:
        line = {"time": _timestamp(now), "level": level, "logger": logger, "message": text}
        line.update({name: value for name, value in fields.items() if name not in line})
        return json.dumps(line, default=str) + "\n"

    def _render_human(self, now: float, level: str, _logger: str, text: str, fields: dict[str, Any]) -> str:
        rest = dict(fields)
        exception = rest.pop("exception", None)
        shown = "".join(f"  {name}={_human(value)}" for name, value in rest.items())
        word = f"{level:<8}"
        if self._terminal:
            word = f"\x1b[{_COLOURS.get(level, '0')}m{word}\x1b[0m"
        # Control bytes in what others wrote must not steer the reader's terminal, nor forge a line.
        line = f"{_timestamp(now)[11:23]} {word} {_printable(text)}{shown}\n"
        return line + (f"{exception}\n" if exception else "")


def install(
    *, style: str = AUTO, level: str = "info", clock: Callable[[], float], stream: TextIO | None = None
) -> LogWriter:
    """Put a writer behind all loggers (default: on stderr) and return it. `level` is debug, info, warning or error."""
    writer = LogWriter(sys.stderr if stream is None else stream, style=style, clock=clock)
    writer.setLevel(_LEVELS[level])
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, LogWriter):
            root.removeHandler(old)
    root.addHandler(writer)
    root.setLevel(_LEVELS[level])
    # One line a scrape says nothing, and asyncio's debug lines are about itself.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return writer


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False


def _timestamp(now: float) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def _human(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return json.dumps(text) if not text or any(c in text for c in ' "=') or not text.isprintable() else text
