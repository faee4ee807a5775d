"""What the exposition shows and no counter holds: what the control process knows about itself and its workers.

The control process fills a `Facts` in as things happen; a scrape reads it.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Weight:
    """What the file says and what is in force, for one version of a route. In the file's own numbers, not yet
    percent."""

    route: str
    version: str
    file: float
    effective: float


class Worker:
    """One worker's seat. It outlives the processes that sit on it, so that its sums never go back."""

    def __init__(self) -> None:
        self.pid = 0
        self.up = False
        self.generation = -1  # of the plan that it serves
        self.left = False  # it drained, and nobody sits here until there are more workers again
        self.restarts = 0
        self.cpu_before = 0.0
        self._cpu_now = 0.0

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all processes that sat here."""
        return self.cpu_before + self._cpu_now

    def started(self, pid: int) -> None:
        """A process took the seat. It counts as a restart, unless it is the first or the one before left on purpose. `up` is
        set once it serves."""
        if self.pid and not self.left:
            self.restarts += 1
        self.left = False
        self.cpu_before += self._cpu_now
        self._cpu_now = 0.0
        self.pid = pid
        self.up = False
        self.generation = -1

    def cpu(self, seconds: float) -> None:
        """The present process has used `seconds` so far; a smaller figure than before is a misreading and ignored."""
        self._cpu_now = max(self._cpu_now, seconds)

    def ended(self, seconds: float) -> None:
        """The process is gone, having used `seconds`."""
        self.cpu(seconds)
        self.cpu_before += self._cpu_now
        self._cpu_now = 0.0
        self.up = False
        self.generation = -1


@dataclass(slots=True)
class ExposureFacts:
    """How the recording of exposures stands; sums since the store was opened."""

    recorded: dict[str, int] = field(default_factory=dict)
    """By route, records that are new and kept."""
    repeated: dict[str, int] = field(default_factory=dict)
    """By route, those that said what was known: from another worker, or one that had forgotten."""
    failures: dict[str, int] = field(default_factory=dict)
    """By kind, tries that failed: store, corrupt, stream, message."""
    failing: str = ""
    """Why nothing can be written now."""
    records: int = 0
    size: int = 0
    """Bytes."""
    ratios: list[tuple[str, str, str, float]] = field(default_factory=list)
    """Route, segment, source, and ln of the Bayes factor against the split that was asked for."""


@dataclass(slots=True)
class EvidenceFacts:
    """The evidence of rollouts; sums since this control process began."""

    verdicts: dict[str, dict[str, str]] = field(default_factory=dict)
    """By route and metric, what was said last: pass, fail or insufficient."""
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and reason, what found no room or could not be understood."""
    brakes: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and version, how often the control process has pulled the brake."""
    queries: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and outcome, queries of Prometheus."""
    events: dict[str, int] = field(default_factory=dict)
    """By name, events that were posted and counted."""


@dataclass(slots=True)
class CapFacts:
    """The cap of a version: how many units have had it, how many may, and why its record is not kept ("" while it is)."""

    units: int
    limit: int
    problem: str = ""

    @property
    def reached(self) -> bool:
        """Whether nobody new gets the version."""
        return self.units >= self.limit or bool(self.problem)


@dataclass(slots=True)
class FlagFacts:
    """What the port of flags was asked; sums since this control process began."""

    evaluations: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By flag, variant and reason."""
    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    """By kind and status code."""
    streams: int = 0
    """Streams of events open now."""
    tokens: dict[str, int] = field(default_factory=dict)
    """By outcome (core/bearer.TOKEN_OUTCOMES), tokens that came with a question."""


@dataclass(frozen=True, slots=True)
class RolloutStanding:
    """Where a rollout is: its state, and the index of its step, -1 before the first."""

    state: str
    step: int


@dataclass(slots=True)
class RolloutFacts:
    """How rollouts stand; sums since this control process began."""

    states: tuple[str, ...] = ()
    """All that a rollout can be in."""
    standing: dict[str, RolloutStanding] = field(default_factory=dict)
    """By route."""
    transitions: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and cause."""
    failures: dict[str, int] = field(default_factory=dict)
    """By kind: journal (it could not be written), publish (there was no room for the plan), look (something unexpected)."""
    by_hand: set[str] = field(default_factory=set)
    """Routes whose weights were set by hand."""
    hooks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls of webhooks by when and outcome (rollout/hooks.py)."""
    notices: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Notices by event and outcome (rollout/notices.py)."""
    reports: dict[str, int] = field(default_factory=dict)
    """Reports of aborts: written, failed."""


@dataclass(slots=True)
class ListFacts:
    """A list of units. Times are Unix seconds: when it was taken, and when its file was written."""

    file: str = ""
    units: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """Lines left out, by cause: not_text, too_long, duplicate."""
    taken_at: float = 0.0
    modified: float = 0.0
    taken: int = 0
    """How often the file was read and used."""
    refused: int = 0
    """How often it could not be."""
    problem: str = ""
    """Why the file as it lies there now is not used; empty when it is."""


@dataclass(slots=True)
class TokenKeyFacts:
    """The keys of tokens. Times are Unix seconds."""

    source: str = ""
    """Where they come from; empty where tokens are not looked at."""
    keys: int = 0
    taken_at: float = 0.0
    taken: int = 0
    """How often they were read and used."""
    refused: int = 0
    """How often they could not be."""
    early: int = 0
    """How often they were fetched before their time, for a token that named another."""
    problem: str = ""
    """Why those that are there now are not used; empty when they are."""


@dataclass(slots=True)
class Facts:
    """All of it. Times are Unix seconds; 0 means never."""

    generation: int = 0
    last_reload_success: bool = True
    last_reload_time: float = 0.0
    """When the plan in force was taken: the last reload that succeeded."""
    reloads: int = 0
    """How often the configuration was read again, whatever came of it."""
    reload_failures: int = 0
    problems: list[str] = field(default_factory=list)
    """What is wrong with the file as it lies there now, one line each; empty when it is the one in force."""
    weights: list[Weight] = field(default_factory=list)
    workers: dict[int, Worker] = field(default_factory=dict)
    faults_killed: bool = False
    log_lines_lost: int = 0
    log_lines_repeated: int = 0
    health_checks: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """By (upstream, endpoint label) and outcome, the checks of endpoints since this control process began."""
    exposures: ExposureFacts = field(default_factory=ExposureFacts)
    evidence: EvidenceFacts = field(default_factory=EvidenceFacts)
    caps: dict[tuple[str, str], CapFacts] = field(default_factory=dict)
    """By (route, version)."""
    flags: FlagFacts = field(default_factory=FlagFacts)
    rollouts: RolloutFacts = field(default_factory=RolloutFacts)
    lists: dict[str, ListFacts] = field(default_factory=dict)
    """Lists of units by the name the configuration gives them."""
    token_keys: TokenKeyFacts = field(default_factory=TokenKeyFacts)
    access_lines_lost: dict[str, int] = field(default_factory=dict)
    """By reason, lines that reached the control process and not the file: full (the queue), failed (the write)."""

    def worker(self, index: int) -> Worker:
        """The seat of worker `index`, made when first asked for."""
        return self.workers.setdefault(index, Worker())

    @property
    def in_force(self) -> int:
        """The number of the plan that all workers serve at least, of those that serve; -1 while none does."""
        return min((one.generation for one in self.workers.values() if one.up), default=-1)


def weights_of(spec: dict[str, Any], file: dict[str, dict[str, float]] | None = None) -> list[Weight]:
    """The weights of all versions of `spec`; `file` are the file's by route and version, where others are in force."""
    return [
        Weight(
            route["name"],
            version["name"],
            (file or {}).get(route["name"], {}).get(version["name"], version["weight"]),
            version["weight"],
        )
        for route in spec["routes"]
        for version in route["versions"]
    ]
