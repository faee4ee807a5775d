"""Routes: which requests, which units, which versions, in what split."""

from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import model_validator

from proxy.core.caps import MOST
from proxy.errors import FLAGS
from proxy.settings.models.audience import KillSwitch, LayerPart, Rings, kill_key, until_key
from proxy.settings.models.breaker import Breaker
from proxy.settings.models.cache import Cache
from proxy.settings.models.choice import Choice
from proxy.settings.models.faults import Fault
from proxy.settings.models.hashing import Hash, expand_hash
from proxy.settings.models.limiting import Admission, Concurrency, RateLimit
from proxy.settings.models.matchers import AnyTest, Networks
from proxy.settings.models.part import Part, duration_key, option, size_key
from proxy.settings.models.retry import SAFE_METHODS, Deadline, Hedge, Retry, expand_deadline
from proxy.settings.models.rollout import Rollout
from proxy.settings.models.stickiness import Stickiness, expand_stickiness
from proxy.settings.models.targeted import Targeted
from proxy.settings.problems import shown
from proxy.settings.rates import Moment
from proxy.settings.scalars import (
    Delay,
    Duration,
    FieldValue,
    HeaderName,
    Host,
    Method,
    Name,
    Percent,
    Reference,
    Regex,
    Short,
    Size,
    Text,
    Token,
    UrlPath,
    Weight,
    one_or_many,
    refuse,
)
from proxy.settings.statuses import StatusCodes

ERROR_FLAGS: Final = tuple(flag.code for flag in FLAGS if flag.error and flag.code.isupper())
_REDEFINABLE: Final = tuple(flag.code for flag in FLAGS if flag.code.isupper())


class Match(Part):
    """Which requests a route takes. Everything given must match."""

    host: Annotated[list[Host], Short(list, one_or_many, "string")] = option(
        "A host or a list of them, also `*.example.com`. Case and port do not matter. Absent: any.", makes=list
    )
    path: UrlPath | None = option("The whole path.", None)
    path_prefix: UrlPath | None = option(
        "The path's beginning, at a segment boundary: `/api` takes /api and /api/x, not /apix.", None
    )
    path_regex: Regex | None = option("A regular expression (Python's `re`) that the whole path matches.", None)
    methods: list[Method] = option("Methods. Absent: any.", makes=list)
    headers: dict[HeaderName, AnyTest] = option(
        "Header fields by name: a text they equal, or a test such as `{prefix: a}`.", makes=dict
    )
    query: dict[Text, AnyTest] = option("Query arguments by name: a text they equal, or a test.", makes=dict)
    cookies: dict[Token, AnyTest] = option("Cookies by name: a text they equal, or a test.", makes=dict)
    client_ip: Networks = option("Networks the client's address is in. Absent: any.", makes=list)

    @model_validator(mode="after")
    def _one_path(self) -> "Match":
        given = [name for name in ("path", "path_prefix", "path_regex") if getattr(self, name) is not None]
        if len(given) > 1:
            refuse(f"has {' and '.join(f'`{name}`' for name in given)}, but takes one of them")
        return self


class UnitSource(Part):
    """Where a unit may be found: exactly one key, or the word `client_ip`."""

    header: HeaderName | None = option("The header field of this name.", None)
    cookie: Token | None = option("The cookie of this name.", None)
    mint_cookie: Token | None = option(
        "The signed cookie of this name, made where it is not there or not ours (HttpOnly, SameSite=Lax, Path=/).", None
    )
    query: Text | None = option("The query argument of this name.", None)
    claim: Text | None = option("The claim of this name in a verified token (`jwt`), where it has one value.", None)
    client_ip: Literal[True] | None = option("The client's address; written as the plain word `client_ip`.", None)

    @model_validator(mode="after")
    def _one(self) -> "UnitSource":
        if len(self.given()) != 1:
            refuse(
                "must be one of `{header: ..}`, `{cookie: ..}`, `{mint_cookie: ..}`, `{query: ..}`, `{claim: ..}` or `client_ip`"
            )
        return self

    def given(self) -> list[tuple[str, Any]]:
        """The sources that are set, as (kind, name)."""
        kinds = ("header", "cookie", "mint_cookie", "query", "claim", "client_ip")
        return [(kind, value) for kind in kinds if (value := getattr(self, kind)) is not None]


def _expand_source(value: Any) -> Any:
    if value != "client_ip":
        _refuse_source(value)
    return {"client_ip": True}


def _refuse_source(value: Any) -> NoReturn:
    refuse(
        "must be one of `{header: ..}`, `{cookie: ..}`, `{mint_cookie: ..}`, `{query: ..}`, `{claim: ..}` or `client_ip`"
        + (f", not {shown(value)}" if isinstance(value, str) else "")
    )


class Version(Part):
    """A named arm of a route."""

    upstream: Reference = option("The upstream that serves it.")
    weight: Weight | None = option(
        "Its share of the units, beside the other versions' (95 and 5, or 1 and 1). A lone version has all.",
        None,
        shown="0",
    )
    fallback: Reference | None = option(
        "The version that serves instead while this one has no reachable endpoint, its breaker is open, or (with"
        " `retry`) its tries are used up. Absent: 503.",
        None,
    )
    warm_up: Delay = duration_key(
        "So long after it first gets requests, its samples are marked, so that analysis can leave them out.", "0s"
    )
    breaker: Breaker | None = option("Stops asking it while too much fails. Absent: none.", None)
    cap: int | None = option(
        "How many units may ever have it, in one salt `epoch`; then nobody new gets it, by no kind of decision, and who has had it"
        " goes on as before. Wants `exposure: true`. Absent: any number.",
        None,
        ge=1,
        le=MOST,
    )
    kill: KillSwitch = kill_key("Nobody gets it, not by any rule and not as a fallback.")


class Rule(Targeted):
    """Before the split: for these units or requests, this version, this split, or anything but this version."""

    OUTCOMES = ("deny", "version", "split")

    deny: Reference | None = option(
        "Never this version; the decision goes on among the others. Wins over everything.", None
    )
    version: Reference | None = option("Always this version.", None)
    split: dict[Name, Weight] | None = option("Weights by version instead of the route's.", None, min_length=1)


class Preview(Part):
    """A tester asks for a version by name."""

    header: HeaderName = option("The header field that names the version.", "x-tidegate-version")
    from_: Networks = option(
        "Client addresses that may.", makes=lambda: ["127.0.0.0/8", "::1/128"], alias="from", shown="[127.0.0.0/8, ::1]"
    )
    until: Moment | None = until_key("From then on nobody may.")


def _expand_methods(value: Any) -> Any:
    """A list of methods; an empty one stands for all."""
    if value == "safe":
        return list(SAFE_METHODS)
    if value != "all":
        refuse(f"must be `safe`, `all` or a list of methods, not {shown(value)}")
    return []


class Mirror(Part):
    """Copies a share of the route's requests to a shadow. Never delays, fails or slows the client's exchange."""

    upstream: Reference = option("The shadow.")
    percent: Percent = option("Share of requests or units that are copied.", unit="percent")
    sample: Literal["unit", "request"] = option(
        "`unit` copies whole sessions; `request` draws for every request.", "unit"
    )
    methods: Annotated[list[Method], Short(list, _expand_methods, "string")] = option(
        "`safe` (GET, HEAD, OPTIONS, TRACE), `all`, or a list of methods.",
        makes=lambda: list(SAFE_METHODS),
        shown="safe",
    )
    body_limit: Size = size_key("Requests with a longer body are not copied.", "1MiB")
    in_flight: int = option("Copies under way at once, over all workers.", 64, unit="count", ge=1)
    buffer: Size = size_key("Bytes held for copies that the shadow has not taken yet, over all workers.", "16MiB")
    response_limit: Size = size_key(
        "The shadow's answer is read this far and discarded; then the connection is closed.", "1MiB"
    )
    timeout: Duration = duration_key("A copy, from its start to the end of the answer.", "5s")
    strip_credentials: bool = option("Leave Authorization, Proxy-Authorization and Cookie out of the copy.", False)


class Rewrite(Part):
    """Changes to the request on its way to the upstream."""

    strip_prefix: UrlPath | None = option("Removed from the path's beginning, at a segment boundary.", None)
    set_headers: dict[Token, FieldValue] = option("Header fields set, replacing what the client sent.", makes=dict)
    remove_headers: list[HeaderName] = option("Header fields removed.", makes=list)


class Errors(Part):
    """What counts as an error of this route."""

    codes: Annotated[list[int], StatusCodes] = option(
        "Status codes of upstream answers, such as `[429, 5xx]`.", makes=lambda: list(range(500, 600)), shown="[5xx]"
    )
    flags: list[Literal[_REDEFINABLE]] = option(  # type: ignore[valid-type]
        "Flags of answers that the proxy makes itself.",
        makes=lambda: list(ERROR_FLAGS),
        shown=f"[{', '.join(ERROR_FLAGS)}]",
    )


class Debug(Part):
    """Who may see `x-tidegate-*` debug headers in answers."""

    from_: Networks = option("Client addresses.", alias="from", min_length=1)


class Route(Part):
    """A rule that picks requests and says how they are split. The first in the file that matches takes a request."""

    name: Name = option("Its name: in metrics, logs, and the default salt.")
    match: Match = option("Which requests it takes. Absent: all.", makes=Match)
    unit: list[Annotated[UnitSource, Short(dict, _expand_source, "string")]] | None = option(
        "Where the unit is found: the first that is there. Empty: no unit, so that the default version serves.",
        None,
        shown="`[{mint_cookie: tg_unit}]` when units matter (several versions with weight, rules with units"
        " or a split, a holdout, a layer, records to keep, flags to tell of, or a rollout), else `[]`",
    )
    salt: Text | None = option(
        "Deals the cards: change it and units are assigned anew.", None, shown="the route's name", min_length=1
    )
    hash: Annotated[Hash, Short(dict, expand_hash, "string")] | None = option(
        "Whose hash deals the units: a family's name, or a map with what it needs. The order of the versions matters to"
        " all but `tidegate`.",
        None,
        shown="tidegate",
    )
    versions: dict[Name, Version] = option("The versions by name.", min_length=1, max_length=64)
    active: Reference | None = option("This version has all of it; the others none. Instead of weights.", None)
    default: Reference | None = option(
        "The version without a unit, and with all weights 0.", None, shown="the first listed, or `active`"
    )
    max_body: Size | None = option("A request's body; beyond: 413. Absent: no limit.", None, unit="size")
    kill: KillSwitch = kill_key("Everybody gets the default version.")
    holdout: Reference | None = option("The holdout whose units get the default version. Absent: none.", None)
    layer: LayerPart | None = option("The part of a layer's units that are dealt; the others get the default.", None)
    epoch: int = option(
        "Raise it to deal the units anew on purpose, without another salt.", 0, unit="count", ge=0, le=1_000_000_000
    )
    stickiness: Annotated[Stickiness, Short(dict, expand_stickiness, "string")] | None = option(
        "Whether units keep a version when the weights change: `hash`, `pinned`, `new_sessions`, or `{mode, cookie,"
        " max_age, drain}`.",
        None,
        shown="hash",
    )
    choice: Choice | None = option("A page where units choose a version for themselves. Absent: none.", None)
    rings: list[Rings] = option("A version for one circle of people after another.", makes=list)
    rules: list[Rule] = option("Before the split; the first that holds decides, deny always wins.", makes=list)
    preview: Preview | None = option("A tester asks for a version by name. Absent: nobody.", None)
    rollout: Rollout | None = option(
        "Brings a version in by itself, step by step. Absent: nobody moves the weights.", None
    )
    mirror: list[Mirror] = option("Copies to shadows.", makes=list)
    rewrite: Rewrite | None = option("Changes to the request on its way up.", None)
    paths: Literal["normal", "raw"] = option(
        "`normal` refuses dot segments, encoded slashes, backslashes and NUL with 400;"
        " `raw` passes paths on as they came.",
        "normal",
    )
    timeout: Duration | None = option(
        "The whole exchange, with all its tries; beyond: 504 UT. Absent: no limit.", None, unit="duration"
    )
    deadline: Annotated[Deadline, Short(dict, expand_deadline, "string")] | None = option(
        "A field in which trusted peers (`trusted_proxies`) lower the timeout: its name, or `{header}`. Absent: none.",
        None,
    )
    retry: Retry | None = option("Asks again where that is safe. Absent: every request is tried once.", None)
    hedge: Hedge | None = option("A second try beside a slow first one. Absent: none.", None)
    rate_limits: list[RateLimit] = option("So many requests, and no more. All of them must let it pass.", makes=list)
    concurrency: Concurrency | None = option("So many requests at once, and a queue. Absent: no limit.", None)
    admission: Admission | None = option("Less for a version that fails. Absent: it gets all of its requests.", None)
    cache: Cache | None = option("Keeps answers. Absent: none.", None)
    faults: list[Fault] = option("Faults on purpose.", makes=list)
    exposure: bool = option(
        "Record which unit first got which version, when and why, and each change. Wants `state: sqlite:PATH`.", False
    )
    inject_flags: list[Reference] = option(
        "Flags that the upstream is told of: a field `x-tidegate-flag-NAME` with the variant.", makes=list
    )
    plugins: list[Reference] = option("Plugins that are asked about its requests, in this order.", makes=list)
    errors: Errors = option("What counts as an error of this route.", makes=Errors)
    debug: Debug | None = option("Who may see `x-tidegate-*` debug headers in answers. Absent: nobody.", None)
