"""Notices when the configuration's files change: saved in place, replaced by a rename, swapped through a symbolic link.

What is watched are directories, never files: a file that is replaced takes its watch with it. An event only says that it
is time to look; whether anything changed is decided by what the names lead to now (a mounted ConfigMap swaps a link that
is none of our names, and a database beside the configuration changes all the time).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final, Protocol

import watchfiles

_QUIET: Final = 50  # milliseconds without an event after which a storm has settled
_STORM: Final = 500  # milliseconds after which it is looked at in any case
_LOOK: Final = 1.0  # seconds between two looks where events do not come
_HEARTBEAT: Final = 5000  # milliseconds between two looks where they do: for a mount that loses some

Fingerprint = tuple[tuple[str, ...], ...]


class Watched(Protocol):
    """What a configuration consists of, as its loader knows."""

    files: list[Path]
    directories: list[Path]


def fingerprint(watched: Watched) -> Fingerprint:
    """What the names lead to now: changes when a file's contents, its link's target, or the files in a directory do."""
    marks = [_mark(path) for path in watched.files]
    suffixes = {".yaml", ".yml"}
    for directory in watched.directories:
        try:
            names = [name for name in directory.iterdir() if name.suffix in suffixes and not name.name.startswith(".")]
        except OSError:
            names = []
        marks.append((str(directory), *sorted(name.name for name in names)))
    return tuple(marks)


async def looks(watched: Watched, by_polling: Callable[[], bool]) -> AsyncGenerator[None]:
    """Yields whenever it may be time to look. `by_polling` chooses anew each time, so that a reload can change it."""
    while True:
        if by_polling():
            await asyncio.sleep(_LOOK)
            yield
            continue
        places = _places(watched)
        events = watchfiles.awatch(
            *places,
            watch_filter=None,
            recursive=False,
            debounce=_STORM,
            step=_QUIET,
            rust_timeout=_HEARTBEAT,
            yield_on_timeout=True,
        )
        try:
            async for _ in events:
                yield
                if by_polling() or _places(watched) != places:
                    break
        except (OSError, RuntimeError):  # a directory vanished between two lines, or no watch is left to be had
            await asyncio.sleep(_LOOK)
            yield


def _places(watched: Watched) -> list[Path]:
    """The directories in which a change may matter: where the names are, and where they lead."""
    places = {_standing(directory) for directory in watched.directories}
    for file in watched.files:
        places.add(_standing(file.parent))
        places.add(_standing(file.resolve().parent))
    return sorted(places)


def _standing(directory: Path) -> Path:
    """`directory`, or what is left of the way there."""
    directory = directory.absolute()
    while not directory.is_dir() and directory != directory.parent:
        directory = directory.parent
    return directory


def _mark(path: Path) -> tuple[str, ...]:
    try:
        real = path.resolve()
        state = real.stat()
    except (OSError, RuntimeError):
        return (str(path),)
    return (str(path), str(real), str(state.st_ino), str(state.st_mtime_ns), str(state.st_size), str(state.st_mode))
