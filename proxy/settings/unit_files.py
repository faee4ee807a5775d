"""Files of units: one a line, a million of them and more, read into memory that all processes share.

A line is a unit without the blanks around it; an empty line and one that begins with `#` are none. Lines that cannot be
units (not UTF-8, or longer than any unit) are left out and counted, as are those that are there twice, and the rest counts;
a file of which most cannot be is no list and is refused. What was read before stays, whatever happens to the file.

Reading goes block by block, so that a file of any size takes its own size, a table's (core/unit_table), and little more.
"""

import fcntl
import mmap
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from proxy.core.unit_table import HEADER, MAX_SIZE, TableBuilder, UnitTable, table_size

MAX_UNIT: Final = 1024
"""Bytes of a unit in a file. Longer ones are no ids of people."""
CAUSES: Final = ("not_text", "too_long", "duplicate")
"""Why a line was left out."""

_BLOCK: Final = 256 << 10
_UNUSUAL: Final = (b"\0", b"#", b" ", b"\t", b"\r", b"\v", b"\f", b"\n\n")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TRIES: Final = 3
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Mark = tuple[int, ...]
"""What a file is, without its contents: changes when those do."""


class UnitFileError(ValueError):
    """The file cannot be used; says why."""


class _ChangedError(Exception):
    """The file became another while it was read."""


class Memory:
    """An anonymous memory that other processes may open by `descriptor`; it goes when nobody has it any more."""

    def __init__(self) -> None:
        self.descriptor: Final = os.memfd_create("tidegate-units", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def __del__(self) -> None:
        os.close(self.descriptor)

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.descriptor).st_size

    @property
    def inode(self) -> int:
        """Tells it from every other memory, also from one that comes to have the same descriptor."""
        return os.fstat(self.descriptor).st_ino

    def map(self) -> memoryview:
        """Its bytes, to be read."""
        return memoryview(mmap.mmap(self.descriptor, self.size, prot=mmap.PROT_READ))


@dataclass(frozen=True, slots=True, eq=False)
class UnitFile:
    """A file as it was read. `skipped` counts lines left out by cause, `first_bad` is the first that cannot be a unit (0:
    none); `digest` is of the units in their order; `modified` is the file's time, in Unix seconds."""

    path: Path
    units: int
    skipped: dict[str, int]
    first_bad: int
    digest: str
    modified: float
    memory: Memory

    def table(self) -> UnitTable:
        """The table, mapped into this process."""
        return UnitTable(self.memory.map())


def read_unit_file(path: Path) -> UnitFile:
    """Read a file of units. Takes about a second a million. Raises UnitFileError."""
    for _ in range(_TRIES):
        try:
            return _read(path)
        except _ChangedError:
            continue
        except FileNotFoundError:
            raise UnitFileError(f"there is no file {path}") from None
        except OSError as error:
            raise UnitFileError(f"{path} cannot be read: {error.strerror or error}") from None
    raise UnitFileError(f"{path} changes while it is read: write another file and rename it over this one")


def _mark(state: os.stat_result) -> Mark:
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _read(path: Path) -> UnitFile:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # opening a pipe would wait for who writes to it
        raise UnitFileError(f"{path} is no file")
    if state.st_size > MAX_SIZE:
        raise UnitFileError(f"{path} is larger than {MAX_SIZE >> 20} MiB")
    memory = Memory()
    lines = _Lines()
    with path.open("rb", buffering=0) as file, os.fdopen(os.dup(memory.descriptor), "wb") as out:
        out.seek(HEADER)
        for block in _blocks(lambda: file.read(_BLOCK), lines):
            out.write(lines.clean(block))
        if lines.size > MAX_SIZE or _mark(os.fstat(file.fileno())) != _mark(state):
            raise _ChangedError
    bad = lines.not_text + lines.too_long
    if bad > lines.units:
        raise UnitFileError(
            f"{path} is no list of units: {bad} of its lines are not UTF-8 text of at most {MAX_UNIT} bytes,"
            f" the first of them line {lines.first_bad}"
        )
    units, duplicates = _index(memory, lines)
    fcntl.fcntl(memory.descriptor, fcntl.F_ADD_SEALS, _SEALS)
    skipped = dict(zip(CAUSES, (lines.not_text, lines.too_long, duplicates), strict=True))
    return UnitFile(path, units, skipped, lines.first_bad, lines.digest.hexdigest(), state.st_mtime, memory)


def _index(memory: Memory, lines: "_Lines") -> tuple[int, int]:
    """Make the table behind the units; how many there are, and how many were there twice."""
    size = table_size(lines.units, lines.size)
    os.ftruncate(memory.descriptor, size)
    with mmap.mmap(memory.descriptor, size) as mapped:
        builder = TableBuilder(memoryview(mapped), lines.units, lines.size)
        try:
            while builder.step():
                pass
            return builder.units, builder.duplicates
        finally:
            builder.release()


def _blocks(read: Callable[[], bytes], lines: "_Lines") -> Iterator[bytes]:
    """Blocks of whole lines, each ended by LF. Of a line that is far too long only the beginning is kept."""
    first = True
    rest = b""
    dropping = False
    while data := read():
        if first:
            data = data.removeprefix(_BYTE_ORDER_MARK)
            first = False
        if dropping:
            _, end, data = data.partition(b"\n")
            if not end:
                continue
            dropping = False
        head, end, tail = data.rpartition(b"\n")
        if end:
            yield rest + head + end
            rest = tail
        else:
            rest += tail
        if len(rest) > MAX_UNIT * 4:  # blanks around it may be cut off, but not that many
            lines.left_out_long()
            rest, dropping = b"", True
    if rest:
        yield rest + b"\n"


class _Lines:
    """What became of the lines so far."""

    def __init__(self) -> None:
        self.units = 0
        self.size = 0
        self.not_text = 0
        self.too_long = 0
        self.first_bad = 0
        self.digest: Final = blake2b(digest_size=16)
        self._seen = 0

    def clean(self, block: bytes) -> bytes:
        """The units of a block of lines, each ended by LF."""
        kept = self._usual(block) or self._picked(block)
        self.size += len(kept)
        self.digest.update(kept)
        return kept

    def left_out_long(self) -> None:
        """A line was so long that it did not get here."""
        self._seen += 1
        self.too_long += 1
        self.first_bad = self.first_bad or self._seen

    def _usual(self, block: bytes) -> bytes:
        """The block as it is, if nothing in it needs a look; else nothing."""
        if block.startswith(b"\n") or any(sign in block for sign in _UNUSUAL) or not _is_utf8(block):
            return b""
        lines = block[:-1].split(b"\n")
        if max(map(len, lines)) > MAX_UNIT:
            return b""
        self.units += len(lines)
        self._seen += len(lines)
        return block

    def _picked(self, block: bytes) -> bytes:
        kept = []
        for line in block[:-1].split(b"\n"):
            self._seen += 1
            unit = line.strip()
            if not unit or unit.startswith(b"#"):
                continue
            if len(unit) > MAX_UNIT:
                self.too_long += 1
            elif b"\0" in unit or not _is_utf8(unit):
                self.not_text += 1
            else:
                kept.append(unit)
                continue
            self.first_bad = self.first_bad or self._seen
        self.units += len(kept)
        return b"\n".join([*kept, b""])


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class UnitFiles:
    """The files that a configuration names, each as it was read last: a file that cannot be used stays what it was.

    `known` are those read, by the name the configuration gives them, `problems` why a file as it lies there now is not
    used. Used by more than one thread.
    """

    def __init__(self, base: Path) -> None:
        """Names are relative to the directory `base`."""
        self.known: Final[dict[str, UnitFile]] = {}
        self.problems: Final[dict[str, str]] = {}
        self._base: Final = base
        self._looked: Final[dict[str, Mark]] = {}
        self._lock: Final = threading.Lock()

    def path(self, name: str) -> Path:
        """The file a name means."""
        return self._base / name

    def changed(self, name: str) -> bool:
        """Whether the file is not what it was at the last look."""
        return self._looked.get(name) != self._mark(name)

    def look(self, name: str) -> None:
        """Read the file if it is not what it was at the last look."""
        with self._lock:
            mark = self._mark(name)
            if self._looked.get(name) == mark:
                return
            self._looked[name] = mark
            try:
                self.known[name] = read_unit_file(self.path(name))
            except UnitFileError as error:
                self.problems[name] = str(error)
            else:
                self.problems.pop(name, None)

    def _mark(self, name: str) -> Mark:
        """What the file is; empty for one that is not there."""
        try:
            return _mark(self.path(name).stat())
        except OSError:
            return ()

    def keep(self, names: Collection[str]) -> None:
        """Forget all other files."""
        with self._lock:
            for held in (self.known, self.problems, self._looked):
                for name in [name for name in held if name not in names]:
                    del held[name]
