"""Exposures: who got which version, and why; how long that is kept, and where else it goes."""

from typing import Annotated, Any

from proxy.settings.models.part import Part, option, size_key
from proxy.settings.rates import Age
from proxy.settings.scalars import Short, Size, Text


class Jsonl(Part):
    """A stream of records for other programs: a JSON object a line."""

    path: Text = option("The file, relative to the working directory. Full ones are renamed: `.1` is the newest.")
    max_size: Size = size_key("The file is renamed when it would grow beyond.", "256MiB")
    files: int = option("How many renamed ones stay; older ones are deleted.", 4, unit="count", ge=0, le=1000)


def _expand_jsonl(value: Any) -> Any:
    return {"path": value}


class Exposure(Part):
    """How exposures are kept, of the routes with `exposure: true`. The store is a file beside that of `state`."""

    retention: Age = option("Older records are deleted, some 260,000 at a time.", 7_776_000.0, unit="age", shown="90d")
    max_size: Size = size_key("The store's size; the oldest records make room.", "2GiB")
    raw_units: bool = option(
        "Keep units as they came, beside their keyed hash. They may be personal data: ask whether you need them.", False
    )
    queue: int = option(
        "Records that may wait in a worker; beyond, they are dropped and counted.",
        100_000,
        unit="count",
        ge=1000,
        le=10_000_000,
    )
    jsonl: Annotated[Jsonl, Short(dict, _expand_jsonl, "string")] | None = option(
        "Records as JSON lines in a file, too: its path, or `{path, max_size, files}`. Absent: none.", None
    )
