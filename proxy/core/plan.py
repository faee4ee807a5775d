"""The compiled, immutable configuration that the data plane runs on.

Life of a plan: settings/ turns YAML into a *spec* (plain JSON values, shown by `/api/v1/config` and pinned by golden
files); control puts counter slots into it and sends it; core/build.py turns it into these classes. Everything that can
be known then is computed then: matchers are closures, fixed header lines are bytes, salts are hash prefixes, counters are
absolute slots.

Parts are built one by one, so that a worker can take a large plan in many short bites, and keep what did not change.
"""

from collections.abc import Callable
from typing import Any, Final

from proxy.core.address import Networks
from proxy.core.admission import AdmissionPolicy
from proxy.core.arm import Arm, RouteLife
from proxy.core.audience import Holdout, Kill, Layer, Rings
from proxy.core.balance import SlowStart
from proxy.core.bearer import TokenPolicy
from proxy.core.breaker import BreakerPolicy
from proxy.core.caps import Cap
from proxy.core.choice import Choice
from proxy.core.concurrency import ConcurrencyPolicy
from proxy.core.cookies import UnitCookies
from proxy.core.deadline import DeadlinePolicy
from proxy.core.evidence import EvidenceWish, Tally, wish_of
from proxy.core.exposed import ExposureWords, Seen
from proxy.core.faults import FaultPolicy
from proxy.core.freshness import CachePolicy
from proxy.core.gcra import build_limits
from proxy.core.hash_families import split_dealer
from proxy.core.hashing import Dealer
from proxy.core.match import Matcher, compile_matcher
from proxy.core.outlier import OutlierPolicy
from proxy.core.request import Request
from proxy.core.retry import HedgePolicy, RetryPolicy
from proxy.core.stickiness import Stickiness

Spec = dict[str, Any]

REASONS: Final[tuple[str, ...]] = (
    "kill", "deny", "preview", "override", "ring", "segment", "holdout", "layer", "sticky", "split", "fallback", "default",
)  # fmt: skip
# Their places. Each by itself, because only so are they numbers in compiled code.
KILL: Final = 0
DENY: Final = 1
PREVIEW: Final = 2
OVERRIDE: Final = 3
RING: Final = 4
SEGMENT: Final = 5
HOLDOUT: Final = 6
LAYER: Final = 7
STICKY: Final = 8
SPLIT: Final = 9
FALLBACK: Final = 10
DEFAULT: Final = 11

NONE: Final = "none"
"""Route and version of a request that matched nothing, and `served` of one that nobody served."""


class Endpoint:
    """One address of an upstream. `key` tells connections apart that must not be shared; `label` is the URL as configured."""

    def __init__(self, spec: Spec, base: int) -> None:
        self.label: Final[str] = spec["url"]
        self.host: Final[str] = spec["host"]  # an IP address; the name's while it is not resolved never gets here
        self.port: Final[int] = spec["port"]
        self.unix: Final[str] = spec.get("unix", "")
        self.tls: Final[bool] = spec.get("tls", False)
        self.server_name: Final[str] = spec.get("server_name", "")  # for SNI and verification
        self.weight: Final[int] = spec.get("weight", 1)
        self.zone: Final[str] = spec.get("zone", "")
        self.slot: Final[int] = base + spec.get("slot", 0)
        self.key: Final[str] = f"{self.unix or self.host}:{self.port}:{self.tls}:{self.server_name}"


class Upstream:
    """A set of endpoints with its policy. Durations in seconds."""

    def __init__(self, spec: Spec, base: int) -> None:
        self.name: Final[str] = spec["name"]
        self.endpoints: Final[list[Endpoint]] = [Endpoint(one, base) for one in spec["endpoints"]]
        timeouts = spec["timeouts"]
        self.connect: Final[float] = timeouts["connect"]
        self.response: Final[float] = timeouts["response"]
        self.idle: Final[float] = timeouts["idle"]
        self.keepalive: Final[float] = timeouts["keepalive"]
        self.tunnel: Final[float] = timeouts["tunnel"]
        self.tunnel_max_age: Final[float] = timeouts["tunnel_max_age"]  # 0: none
        limits = spec["limits"]
        self.max_connections: Final[int] = limits["connections"]
        self.max_pending: Final[int] = limits["pending"]
        self.max_requests: Final[int] = limits["requests"]
        self.max_idle: Final[int] = limits["idle"]
        self.tls: Final[Spec | None] = spec.get("tls")  # {"ca": path, "certificate": path, "key": path, "stamp": str}
        self.tls_stamp: Final = repr(self.tls)  # tells its TLS context from another's
        self.balance: Final[str] = spec["balance"]
        self.own_zone: Final[str] = spec["own_zone"]  # where this proxy stands; "": nowhere
        self.panic_threshold: Final[float] = spec["panic_threshold"]  # percent
        self.slot: Final[int] = base + spec.get("slot", 0)
        self.outlier: Final[OutlierPolicy | None] = OutlierPolicy(spec["outlier"]) if spec["outlier"] else None
        self.slow_start: Final[SlowStart | None] = SlowStart(spec["slow_start"]) if spec["slow_start"] else None


class UnitSource:
    """One link of a unit chain. `kind` is header, cookie, mint_cookie, query, claim or client_ip; `name` the field's lower-case
    name."""

    def __init__(self, spec: Spec) -> None:
        self.kind: Final[str] = spec["kind"]
        self.name: Final[bytes] = spec.get("name", "").encode()


class Version:
    """A named arm of a route.

    `codes[i]` are the slots of status codes for an answer served by the i-th version of its chain (`Route.chains`), and
    `codes_none` those for an answer that no version served.
    """

    def __init__(self, spec: Spec, route: str, index: int, upstream: Upstream, base: int) -> None:
        self.name: Final[str] = spec["name"]
        self.index: Final = index
        self.upstream: Final = upstream
        self.weight: Final[float] = spec["weight"]
        self.slot: Final[int] = base + spec.get("slot", 0)
        self.codes: Final[list[int]] = [base + slot for slot in spec.get("codes", [])]
        self.codes_none: Final[int] = base + spec.get("codes_none", 0)
        self.head_lines: Final = f"x-tidegate-route: {route}\r\nx-tidegate-version: {self.name}\r\n".encode()
        self.arm: Arm | None = None  # given by the worker, where anything of it is to be remembered
        self.warm_up: Final[float] = spec["warm_up"]  # seconds
        self.breaker: Final[BreakerPolicy | None] = BreakerPolicy(spec["breaker"]) if spec["breaker"] else None
        self.cap: Final[Cap | None] = Cap(spec["cap"], self.name) if spec["cap"] else None
        self.cache_prefix: bytes = b""  # given by the worker: what its keys in the route's cache begin with


class Rule:
    """Before the split: exactly one of `deny`, `version` and `split`, for the units listed or the requests matched.

    From `until` on it is as if it were not there.
    """

    def __init__(
        self, spec: Spec, versions: dict[str, Version], salt: str, matcher: Matcher | None, family: Spec | None = None
    ) -> None:
        self.label: Final[str] = spec["label"]  # "rules[0]"
        self.units: Final[frozenset[bytes] | None] = (
            frozenset(unit.encode() for unit in spec["units"]) if "units" in spec else None
        )
        self.where: Final[Spec | None] = spec.get("where")  # for `explain`, which traces it
        self.matcher: Final = matcher
        self.deny: Final[Version | None] = versions[spec["deny"]] if "deny" in spec else None
        self.version: Final[Version | None] = versions[spec["version"]] if "version" in spec else None
        self.split: Final[Dealer | None] = (
            split_dealer(family, salt, [(versions[name].index, name, share) for name, share in spec["split"].items()])
            if "split" in spec
            else None
        )
        self.until: Final[float] = spec.get("until", 0.0)  # Unix seconds; 0: no end


class Mirror:
    """Which requests are copied to which shadow, and within what bounds (bytes, seconds, totals over all workers)."""

    def __init__(self, spec: Spec, upstream: Upstream, salt: str, base: int) -> None:
        self.upstream: Final = upstream
        self.percent: Final[float] = spec["percent"]
        self.by_unit: Final[bool] = spec["sample"] == "unit"
        self.threshold: Final[int] = round(self.percent / 100 * 2**32)  # against a 32-bit hash
        self.prefix: Final = f"{salt}\0mirror\0{upstream.name}\0".encode()
        methods = spec["methods"]
        self.methods: Final[frozenset[bytes] | None] = frozenset(m.encode() for m in methods) if methods else None
        self.body_limit: Final[int] = spec["body_limit"]
        self.in_flight: Final[int] = spec["in_flight"]
        self.buffer: Final[int] = spec["buffer"]
        self.response_limit: Final[int] = spec["response_limit"]
        self.timeout: Final[float] = spec["timeout"]
        self.strip_credentials: Final[bool] = spec["strip_credentials"]
        self.slot: Final[int] = base + spec.get("slot", 0)


class Rewrite:
    """Changes to the request on its way up. `set_lines` are whole field lines; `dropped` lower-case names not passed on."""

    def __init__(self, spec: Spec) -> None:
        self.strip_prefix: Final[bytes] = spec["strip_prefix"].encode()
        self.set_lines: Final[bytes] = b"".join(
            f"{name}: {value}\r\n".encode() for name, value in spec["set_headers"].items()
        )
        self.dropped: Final = frozenset(
            name.lower().encode() for name in (*spec["set_headers"], *spec["remove_headers"])
        )
        self.sets_host: Final = any(name.lower() == "host" for name in spec["set_headers"])


class Preview:
    """A tester names a version in a field; `networks` are the client addresses that may."""

    def __init__(self, spec: Spec) -> None:
        self.header: Final[bytes] = spec["header"].lower().encode()
        self.networks: Final = Networks(spec["from"])
        self.until: Final[float] = spec["until"]  # Unix seconds; 0: no end


class Plugged:
    """What a worker has of a route's plugins, and nobody else (dataplane/plugged.py)."""


class Route:
    """Picks requests and says how they are split. `position` is its place in the file: the first match wins."""

    def __init__(
        self,
        spec: Spec,
        upstreams: dict[str, Upstream],
        segments: dict[str, Matcher],
        base: int,
    ) -> None:
        name: str = spec["name"]
        salt: str = spec["salt"]
        self.name: Final = name
        self.epoch: Final[int] = spec["epoch"]
        # What versions are dealt with. Epoch 0 is the salt alone; no purpose of a hash is a number.
        dealt = f"{salt}\0{self.epoch}" if self.epoch else salt
        self.salt: Final = salt
        self.salt_bytes: Final = dealt.encode()
        self.hosts: Final[list[str]] = spec["hosts"]
        self.path: Final[str | None] = spec["path"]
        self.path_prefix: Final[str | None] = spec["path_prefix"]
        self.path_regex: Final[str | None] = spec["path_regex"]
        self.methods: Final[frozenset[bytes] | None] = (
            frozenset(method.encode() for method in spec["methods"]) if spec["methods"] else None
        )
        self.where: Final[Matcher | None] = compile_matcher(spec["where"], segments) if spec["where"] else None
        self.raw_paths: Final[bool] = spec["raw_paths"]
        self.unit: Final = [UnitSource(source) for source in spec["unit"]]
        self.claimed: Final[bool] = spec["claimed"]  # whether its unit, or a matcher that it names, is about claims
        self.versions: Final = [
            Version(one, name, index, upstreams[one["upstream"]], base) for index, one in enumerate(spec["versions"])
        ]
        by_name = {version.name: version for version in self.versions}
        self.by_name: Final = by_name
        self.by_name_bytes: Final = {version.name.encode(): version for version in self.versions}
        fallbacks: dict[str, str | None] = {one["name"]: one["fallback"] for one in spec["versions"]}
        # By a version's index, the version and then its fallbacks in order. They stand here because a version that knew
        # itself would be a circle, and an old plan would wait for the garbage collector.
        self.chains: Final[list[list[Version]]] = []
        for version in self.versions:
            chain = [version]
            following = fallbacks[version.name]
            while following is not None and by_name[following] not in chain:
                chain.append(by_name[following])
                following = fallbacks[following]
            self.chains.append(chain)
        self.default: Final = by_name[spec["default"]]
        family: Spec | None = spec["hash"]
        self.split: Final = split_dealer(family, dealt, [(v.index, v.name, v.weight) for v in self.versions])
        rules = [
            Rule(one, by_name, dealt, compile_matcher(one["where"], segments) if "where" in one else None, family)
            for one in spec["rules"]
        ]
        # The kinds are ranked (reference: order of precedence); the order in the file ranks within a kind.
        self.denies: Final = [rule for rule in rules if rule.deny is not None]
        self.overrides: Final = [rule for rule in rules if rule.deny is None and rule.units is not None]
        self.segment_rules: Final = [rule for rule in rules if rule.deny is None and rule.units is None]
        self.preview: Final[Preview | None] = Preview(spec["preview"]) if spec["preview"] else None
        self.kills: Final = [Kill(one["label"], one["until"]) for one in spec["kill"]]
        self.version_kills: Final = [  # the worker's brake adds to them
            Kill(f"versions.{one['name']}.kill", one["kill"]["until"], index)
            for index, one in enumerate(spec["versions"])
            if one["kill"]
        ]
        self.rings: Final = [Rings(one, by_name[one["version"]].index, segments) for one in spec["rings"]]
        self.holdout: Final[Holdout | None] = Holdout(spec["holdout"]) if spec["holdout"] else None
        self.layer: Final[Layer | None] = Layer(spec["layer"]) if spec["layer"] else None
        self.sticky: Final[Stickiness | None] = (
            Stickiness(spec["stickiness"], name, salt, self.epoch) if spec["stickiness"] else None
        )
        self.choice: Final[Choice | None] = (
            Choice(spec["choice"], name, {version.name: version.index for version in self.versions}, segments)
            if spec["choice"]
            else None
        )
        self.capped: Final = [version for version in self.versions if version.cap is not None]
        # Nothing stands before the split: `decide` then goes straight to it. A worker's brake may come later.
        self.plain: bool = (
            not rules
            and self.preview is None
            and not self.kills
            and not self.version_kills
            and not self.rings
            and self.holdout is None
            and self.layer is None
            and self.sticky is None
            and self.choice is None
            and not self.capped
        )
        self.mirrors: Final = [Mirror(one, upstreams[one["upstream"]], salt, base) for one in spec["mirror"]]
        self.rewrite: Final[Rewrite | None] = Rewrite(spec["rewrite"]) if spec["rewrite"] else None
        self.max_body: Final[int] = -1 if spec["max_body"] is None else spec["max_body"]
        errors = spec["errors"]
        self.error_codes: Final = frozenset(errors["codes"])
        self.error_flags: Final = frozenset(errors["flags"])
        self.debug: Final[Networks | None] = Networks(spec["debug"]) if spec["debug"] else None
        self.life: RouteLife | None = None  # given by the worker, where anything of it is to be remembered
        indexes = {version.name: version.index for version in self.versions}
        self.rate_limits: Final = build_limits(spec["rate_limits"], name, indexes)
        self.concurrency: Final[ConcurrencyPolicy | None] = (
            ConcurrencyPolicy(spec["concurrency"], indexes) if spec["concurrency"] else None
        )
        self.admission: Final[AdmissionPolicy | None] = (
            AdmissionPolicy(spec["admission"]) if spec["admission"] else None
        )
        own_cookies = frozenset(source.name for source in self.unit if source.kind == "mint_cookie")
        if self.sticky is not None:
            own_cookies |= {self.sticky.cookie}
        if self.choice is not None:
            own_cookies |= {self.choice.cookie}
        self.cache: Final[CachePolicy | None] = CachePolicy(spec["cache"], own_cookies) if spec["cache"] else None
        self.timeout: Final[float] = spec["timeout"]  # of the whole exchange, in seconds; 0: none
        self.retry: Final[RetryPolicy | None] = RetryPolicy(spec["retry"]) if spec["retry"] else None
        self.hedge: Final[HedgePolicy | None] = HedgePolicy(spec["hedge"]) if spec["hedge"] else None
        # Whether a request may be at the upstream more than once: its exchange then looks after its tries.
        self.attended: Final = self.retry is not None or self.hedge is not None
        self.deadline: Final[DeadlinePolicy | None] = DeadlinePolicy(spec["deadline"]) if spec["deadline"] else None
        self.faults: Final[FaultPolicy | None] = FaultPolicy(spec["faults"], segments) if spec["faults"] else None
        self.exposure: Final[ExposureWords | None] = ExposureWords(spec) if spec["exposure"] else None
        self.seen: Seen | None = None  # given by the worker, where exposures are recorded
        self.evidence_wish: Final[EvidenceWish | None] = wish_of(
            spec.get("evidence"), [version.name for version in self.versions]
        )
        self.evidence: Tally | None = None  # given by the worker, where versions are compared
        # Whether its answers say what units did.
        self.tells: Final[bool] = self.evidence_wish is not None and bool(self.evidence_wish.events)
        self.inject_flags: Final[list[str]] = spec["inject_flags"]  # told to the upstream
        self.plugins: Final[list[str]] = spec["plugins"]
        self.plugged: Plugged | None = None  # given by the worker, where it names any
        # Whether anything stands between the decision and the upstream: the exchange then goes through its gates.
        self.guarded: Final[bool] = (
            self.timeout > 0
            or self.deadline is not None
            or bool(self.rate_limits)
            or self.faults is not None
            or self.cache is not None
            or self.concurrency is not None
            or self.admission is not None
        )


class Client:
    """What is asked of clients: seconds, bytes, counts."""

    def __init__(self, spec: Spec) -> None:
        self.head: Final[float] = spec["timeouts"]["head"]
        self.body: Final[float] = spec["timeouts"]["body"]
        self.keepalive: Final[float] = spec["timeouts"]["keepalive"]
        self.max_head: Final[int] = spec["limits"]["head"]
        self.max_fields: Final[int] = spec["limits"]["fields"]
        self.max_target: Final[int] = spec["limits"]["target"]
        self.max_connections: Final[int] = spec["limits"]["connections"]


class Flags:
    """What a plan asks of its flags (core/flags.py, which stands on this module)."""

    def lines(self, names: list[str], request: Request, unit: bytes | None) -> bytes:
        """Whole field lines that tell an upstream of the flags of these names."""
        raise AssertionError("a plan has the flags of core/flags.py, or none")


class Plan:
    """One generation of the configuration, whole. `find` answers which route takes a request."""

    def __init__(
        self,
        spec: Spec,
        upstreams: dict[str, Upstream],
        routes: list[Route],
        find: Callable[[Request], Route | None],
        base: int,
    ) -> None:
        self.generation: Final[int] = spec["generation"]
        self.client: Final = Client(spec["client"])
        self.trusted: Final = Networks(spec["trusted_proxies"])
        self.cookie_keys: Final[list[bytes]] = [key.encode() for key in spec["secrets"]["cookie"]]
        self.cookies: Final = UnitCookies(self.cookie_keys)
        self.unit_hash_key: Final[bytes] = spec["secrets"]["unit_hash"].encode()
        self.access_log: Final[bool] = spec["access_log"]
        self.faults: Final[bool] = spec["faults"]["enabled"]
        self.max_disturbed: Final[float] = spec["faults"]["max_percent"]  # of a version's requests
        self.timed: Final[bool] = spec["timed"]  # whether a decision may depend on `Request.at`
        self.plugins: Final[list[Spec]] = spec["plugins"]  # loaded by workers, where a route names them
        self.tokens: Final[TokenPolicy | None] = TokenPolicy(spec["jwt"]) if spec["jwt"] else None
        self.exposure_queue: Final[int] = spec["exposure"]["queue"]  # records that may wait in a worker
        self.exposure_raw: Final[bool] = spec["exposure"]["raw_units"]
        self.flags: Flags | None = None  # given by who builds it, where a route tells of flags
        self.upstreams: Final = upstreams
        self.routes: Final = routes
        self.find: Final = find
        # Requests that matched no route, or could not be parsed.
        self.none_slot: Final[int] = base + spec.get("none_slot", 0)
        self.none_codes: Final[int] = base + spec.get("none_codes", 0)
