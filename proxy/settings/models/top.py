"""The whole configuration."""

import os
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from proxy.settings.models.audience import Holdout, KillSwitch, Layer, kill_key
from proxy.settings.models.exposure import Exposure
from proxy.settings.models.faults import FaultBounds
from proxy.settings.models.flags import Flag, Ofrep
from proxy.settings.models.listen import Admin, Client, Drain, Listener, Listeners
from proxy.settings.models.matchers import Matcher
from proxy.settings.models.part import Part, option
from proxy.settings.models.plugins import PluginEntry
from proxy.settings.models.route import Route
from proxy.settings.models.tokens import Jwt
from proxy.settings.models.upstream import Upstream
from proxy.settings.problems import shown
from proxy.settings.scalars import (
    Cidr,
    Delay,
    Listen,
    Name,
    Secret,
    Short,
    Text,
    Zone,
    one_or_many,
    parse_plain_text,
    refuse,
)

_SQLITE: Final = re.compile(r"sqlite:.+")


def _parse_state(value: object) -> str:
    text = parse_plain_text(value)
    if _SQLITE.fullmatch(text) is None or text.startswith("sqlite://"):
        refuse(f"must be `sqlite:` and a path, such as `sqlite:tidegate.db`, not {shown(text)}")
    return text


def _parse_workers(value: object) -> int:
    if value == "auto":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 128:
        what = f"text ({shown(value)})" if isinstance(value, str) else shown(value)
        refuse(f"must be a number from 1 to 128, or `auto`, not {what}")
    return value


def _parse_access_log(value: object) -> str:
    if isinstance(value, bool):
        refuse("must be `off`, `stdout` or a file's path")
    return parse_plain_text(value)


def _expand_admin(value: Any) -> Any:
    return {"address": value}


class Secrets(Part):
    """Keys. Absent ones are made once and kept in the state store."""

    cookie: list[Secret] = option(
        "Keys for minted cookies: the first signs, any verifies. At least 16 characters each.", makes=list
    )
    unit_hash: Secret = option(
        "Key for the hash of units in logs and headers. At least 16 characters.", "", shown="made once"
    )


class Log(Part):
    """The log of control and workers, on standard error."""

    format: Literal["auto", "human", "json"] = option("`auto` is human on a terminal and JSON lines otherwise.", "auto")
    level: Literal["debug", "info", "warning", "error"] = option("The lowest level written.", "info")


class General(Part):
    """All but upstreams, segments and routes."""

    include: Annotated[list[Text], Short(list, one_or_many, "string")] = option(
        "Files to merge in, as patterns relative to this file: lists are appended, maps joined;"
        " a name given twice is an error.",
        makes=list,
    )
    listen: Listeners = option(
        "Where requests come in: an address, or a list of addresses or `{address, tls, proxy_protocol}`.", min_length=1
    )
    admin: Annotated[Admin, Short(dict, _expand_admin, "string")] = option(
        "The admin port: API, metrics, dashboard. An address or `{address, tokens, tls}`.",
        makes=Admin,
        shown="127.0.0.1:9901",
    )
    metrics: Listen | None = option(
        "A second port with /metrics, /healthz and /readyz alone, without token. Absent: none.", None, restart=True
    )
    workers: Annotated[
        int,
        BeforeValidator(_parse_workers),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 128}, {"type": "string"}]}),
    ] = option("Worker processes; `auto` is one for each core.", 1, unit="count")
    trusted_proxies: list[Cidr] = option("Networks whose X-Forwarded-* and Forwarded are believed.", makes=list)
    state: Annotated[str, BeforeValidator(_parse_state), WithJsonSchema({"type": "string"})] | None = option(
        "What outlives a restart: `sqlite:PATH`, relative to the working directory. Absent: in memory.",
        None,
        restart=True,
    )
    secrets: Secrets = option("Keys. Absent ones are made once and kept in the state store.", makes=Secrets)
    drain: Drain = option("How the proxy leaves.", makes=Drain)
    watch: Literal["events", "poll"] = option(
        "How changed files are noticed: by the system's events, or by looking every second where events do not come.",
        "events",
    )
    watchdog: Delay = option(
        "A worker that has done nothing at all for so long is replaced; `0s`: never.",
        10.0,
        unit="duration",
        shown="10s",
    )
    run_dir: Text | None = option(
        "Directory of the sockets by which a new control process takes workers over.",
        None,
        restart=True,
        shown="chosen by the system",
    )
    access_log: Annotated[str, BeforeValidator(_parse_access_log), WithJsonSchema({"type": "string"})] = option(
        "`off`, `stdout`, or a file's path, relative to the working directory: a JSON line for each request.", "off"
    )
    log: Log = option("The log of control and workers.", makes=Log)
    client: Client = option("What is asked of clients.", makes=Client)
    zone: Zone | None = option(
        "Where this proxy stands: endpoints of the same `zone` are asked first. Absent: all alike.", None
    )
    exposure: Exposure = option("How exposures are kept.", makes=Exposure)
    faults: FaultBounds = option("What holds for all faults of all routes.", makes=FaultBounds)
    jwt: Jwt | None = option("Which tokens are believed, for units and segments by `claim`. Absent: none.", None)
    kill: KillSwitch = kill_key("Everybody gets the default version, on every route.")
    holdouts: dict[Name, Holdout] = option("Holdouts by name, for routes to name.", makes=dict)
    layers: dict[Name, Layer] = option("Layers by name, for routes to name.", makes=dict)
    flags: dict[Name, Flag] = option("Flags by name: values for applications, by unit.", makes=dict)
    plugins: list[PluginEntry] = option("Classes of your own that workers ask, for routes to name.", makes=list)
    ofrep: Ofrep | None = option("The port on which applications ask for flags. Absent: none.", None)

    @property
    def worker_count(self) -> int:
        """Processes to start: `workers`, or as many as there are cores this process may use."""
        return self.workers or len(os.sched_getaffinity(0))


class Settings(General):
    """A Tidegate configuration."""

    upstreams: dict[Name, Upstream] = option("The upstreams by name.", min_length=1)
    segments: dict[Name, Matcher] = option("Groups of requests by name, for rules.", makes=dict)
    routes: list[Route] = option("The routes; the first that matches takes a request.", min_length=1)


__all__ = ["General", "Listener", "Log", "Secrets", "Settings"]
