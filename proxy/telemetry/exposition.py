"""/metrics: the counters, the ledger that names them, and the facts beside them, as Prometheus text or OpenMetrics.

Lines are built here and not as prometheus_client's samples: with a thousand routes a scrape is some 100,000 lines, for
which its objects and encoder take most of a second of the control process, and strings a fifth of that. Its parser is
the oracle in the tests. prometheus_client does supply what it is good at: memory, CPU and descriptors of this process.

A block in which nobody counted has no series yet; one that was counted in keeps all of them, at 0 too, for histograms
and sums. Nothing here changes a counter.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from proxy.core.outlier import CAUSES
from proxy.core.plan import REASONS
from proxy.core.route_cache import CACHE_OUTCOMES
from proxy.errors import FLAGS
from proxy.telemetry import metrics
from proxy.telemetry.counters import (
    BLOCK_SLOTS,
    CAP_OUTCOMES,
    CHOICE_OUTCOMES,
    E_DOWN,
    E_DRAINED,
    E_EJECTED,
    E_EJECTIONS,
    E_FAILURES,
    E_UNHEALTHY,
    FAULT_OUTCOMES,
    LEDGER_SLOTS,
    LIMITED_CAUSES,
    M_BUFFERED,
    M_CODES,
    M_DURATION,
    M_FAILURES,
    M_IN_FLIGHT,
    M_OUTCOMES,
    M_TIMEOUTS,
    MIRROR_OUTCOMES,
    U_ACTIVE,
    U_CONNECTING,
    U_IDLE,
    U_PANIC,
    U_PENDING,
    U_REQUESTS,
    V_BRAKES,
    V_CACHE_OUTCOMES,
    V_CAP,
    V_CHOICES,
    V_DURATION,
    V_EVIDENCE_DROPPED,
    V_EXPOSURES_DROPPED,
    V_FAULTS,
    V_FLAGS,
    V_IN_FLIGHT,
    V_LIMIT,
    V_LIMITED,
    V_MARKED_ERRORS,
    V_MARKED_REQUESTS,
    V_QUEUED,
    V_REASONS,
    V_REQUEST_BYTES,
    V_RESPONSE_BYTES,
    V_UPSTREAM,
    W_ACCEPTED,
    W_CONNECTIONS,
    W_DEADLINES_IGNORED,
    W_FAILURES,
    W_LOG_DROPPED,
    W_LOOP_LAG,
    W_RATE_KEYS_FORGOTTEN,
    W_REFUSED,
    W_REQUESTS,
    W_STALLS,
    W_TUNNELS,
    W_TUNNELS_RETIRED,
    WORKER_SLOTS,
    Cells,
)
from proxy.telemetry.exposition_caps import add_caps
from proxy.telemetry.exposition_evidence import add_evidence
from proxy.telemetry.exposition_exposures import add_exposures
from proxy.telemetry.exposition_expressions import add_expressions
from proxy.telemetry.exposition_flags import add_flags
from proxy.telemetry.exposition_plugins import add_plugin
from proxy.telemetry.exposition_rollouts import add_rollouts
from proxy.telemetry.exposition_tokens import add_token_keys, add_tokens
from proxy.telemetry.exposition_tries import add_tries
from proxy.telemetry.facts import Facts
from proxy.telemetry.labels import Key
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.samples import Samples, escape
from proxy.telemetry.snapshot import Snapshot

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_PROCESS_NAMESPACE: Final = "tidegate_control"

_ENDPOINT_STATES: Final = (
    ("unreachable", E_DOWN),
    ("ejected", E_EJECTED),
    ("unhealthy", E_UNHEALTHY),
    ("drained", E_DRAINED),
)

_CONNECTION_STATES: Final = (("connecting", U_CONNECTING), ("active", U_ACTIVE), ("idle", U_IDLE))
_OF_WORKERS: Final = (
    (metrics.CONNECTIONS, W_CONNECTIONS),
    (metrics.ACCEPTED, W_ACCEPTED),
    (metrics.REFUSED, W_REFUSED),
    (metrics.RATE_KEYS_FORGOTTEN, W_RATE_KEYS_FORGOTTEN),
    (metrics.TUNNELS, W_TUNNELS),
    (metrics.TUNNELS_RETIRED, W_TUNNELS_RETIRED),
    (metrics.DEADLINES_IGNORED, W_DEADLINES_IGNORED),
    (metrics.WORKER_FAILURES, W_FAILURES),
    (metrics.WORKER_STALLS, W_STALLS),
    (metrics.WORKER_REQUESTS, W_REQUESTS),
)
_FLAG_CODES: Final = tuple(flag.code for flag in FLAGS)


def choose_format(accept: str) -> str:
    """The content type to answer a scraper's Accept with: OpenMetrics where it is asked for and not liked less than
    text."""
    wanted = {TEXT: -1.0, OPENMETRICS: -1.0}
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.lower().split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if media == "application/openmetrics-text":
            wanted[OPENMETRICS] = max(wanted[OPENMETRICS], quality)
        elif media in {"text/plain", "text/*", "*/*"}:
            wanted[TEXT] = max(wanted[TEXT], quality)
    return OPENMETRICS if wanted[OPENMETRICS] > 0 and wanted[OPENMETRICS] >= wanted[TEXT] else TEXT


class Exposition:
    """Renders a scrape."""

    def __init__(self, cells: Cells, ledger: Ledger, facts: Facts) -> None:
        self._cells: Final = cells
        self._ledger: Final = ledger
        self._facts: Final = facts
        self._process: Final = CollectorRegistry(auto_describe=True)
        ProcessCollector(namespace=_PROCESS_NAMESPACE, registry=self._process)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The body of /metrics and its content type, for a scraper that sent `accept`."""
        content_type = choose_format(accept)
        openmetrics = content_type == OPENMETRICS
        lines = self._samples().lines
        out: list[str] = []
        for metric in metrics.METRICS:
            name = metric.name
            if openmetrics and metric.kind == metrics.COUNTER:
                name = name.removesuffix("_total")  # the suffix belongs to the sample and not to the family
            out.append(f"# HELP {name} {metric.meaning}")
            out.append(f"# TYPE {name} {metric.kind}")
            out += lines[metric.name]
        own: bytes = (
            generate_openmetrics(self._process)  # type: ignore[no-untyped-call]
            if openmetrics
            else generate_latest(self._process)
        )
        return "\n".join(out).encode() + b"\n" + own, content_type

    def _samples(self) -> Samples:
        samples = Samples()
        snapshot = Snapshot(self._cells)
        self._codes(samples, snapshot)
        dropped: dict[str, int] = {}
        unheard: dict[str, int] = {}
        brakes: dict[tuple[str, str], int] = {}
        for (route, version), values in self._versions(samples, snapshot):
            for slot, counts in ((V_EXPOSURES_DROPPED, dropped), (V_EVIDENCE_DROPPED, unheard)):
                if values[slot]:
                    counts[route] = counts.get(route, 0) + values[slot]
            if values[V_BRAKES]:
                brakes[route, version] = values[V_BRAKES]
        add_exposures(samples, self._facts.exposures, dropped)
        add_caps(samples, self._facts.caps)
        add_evidence(samples, self._facts.evidence, unheard, brakes)
        add_flags(samples, self._facts.flags)
        add_rollouts(samples, self._facts.rollouts)
        self._mirrors(samples, snapshot)
        self._upstreams(samples, snapshot)
        for (name,), values in self._blocks("plugin", snapshot):
            add_plugin(samples, name, values)
        self._workers(samples, snapshot)
        self._health(samples)
        self._lists(samples)
        add_token_keys(samples, self._facts.token_keys)
        self._control(samples)
        return samples

    def _blocks(self, kind: str, snapshot: Snapshot) -> Iterator[tuple[Key, list[int]]]:
        """The labels and sums of every block of `kind` that was counted in, folded ones included."""
        size = BLOCK_SLOTS[kind]
        folded = dict(self._ledger.folded(kind))
        for key, offset in self._ledger.blocks(kind):
            values = snapshot.read(offset, size)
            more = folded.pop(key, None)
            if more:
                values = values or [0] * size
                for slot, value in more.items():
                    values[slot] += value
            if values is not None:
                yield key, values
        for key, counts in folded.items():
            values = [0] * size
            for slot, value in counts.items():
                values[slot] = value
            yield key, values

    def _codes(self, samples: Samples, snapshot: Snapshot) -> None:
        folded = dict(self._ledger.folded("codes"))
        sums = [
            (key, snapshot.sparse(offset, BLOCK_SLOTS["codes"]), folded.pop(key, {}))
            for key, offset in self._ledger.blocks("codes")
        ]
        sums += [(key, {}, counts) for key, counts in folded.items()]
        for (route, assigned, served), counted, more in sums:
            for code, value in more.items():
                counted[code] = counted.get(code, 0) + value
            if counted:
                labels = f'route="{escape(route)}",version="{escape(assigned)}",served="{escape(served)}"'
                samples.each(
                    metrics.REQUESTS, labels, [(f"{code:03}", value) for code, value in sorted(counted.items())]
                )

    def _versions(self, samples: Samples, snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], list[int]]]:
        """Answers the slots by route and version, for what else is in them."""
        for (route, version), values in self._blocks("version", snapshot):
            labels = f'route="{escape(route)}",version="{escape(version)}"'
            samples.add(metrics.IN_FLIGHT, labels, values[V_IN_FLIGHT])
            samples.add(metrics.QUEUED, labels, values[V_QUEUED])
            samples.add(metrics.REQUEST_BYTES, labels, values[V_REQUEST_BYTES])
            samples.add(metrics.RESPONSE_BYTES, labels, values[V_RESPONSE_BYTES])
            samples.histogram(metrics.DURATION, labels, values, V_DURATION)
            samples.histogram(metrics.UPSTREAM_DURATION, labels, values, V_UPSTREAM)
            add_tries(samples, labels, values)
            samples.seen(metrics.FAULTS, labels, FAULT_OUTCOMES, values, V_FAULTS)
            samples.seen(metrics.CAP_ADMISSIONS, labels, CAP_OUTCOMES, values, V_CAP)
            samples.seen(metrics.CHOICES, labels, CHOICE_OUTCOMES, values, V_CHOICES)
            if values[V_MARKED_REQUESTS]:
                samples.add(metrics.MARKED_REQUESTS, labels, values[V_MARKED_REQUESTS])
                samples.add(metrics.MARKED_ERRORS, labels, values[V_MARKED_ERRORS])
            samples.seen(metrics.DECISIONS, labels, REASONS, values, V_REASONS)
            samples.seen(metrics.LIMITED, labels, LIMITED_CAUSES, values, V_LIMITED)
            if values[V_LIMIT]:
                samples.add(metrics.CONCURRENCY_LIMIT, labels, abs(values[V_LIMIT]))
            samples.seen(metrics.CACHE, labels, CACHE_OUTCOMES, values, V_CACHE_OUTCOMES)
            samples.seen(metrics.ERRORS, labels, _FLAG_CODES, values, V_FLAGS)
            yield (route, version), values

    def _mirrors(self, samples: Samples, snapshot: Snapshot) -> None:
        for (route, upstream), values in self._blocks("mirror", snapshot):
            labels = f'route="{escape(route)}",upstream="{escape(upstream)}"'
            samples.add(metrics.MIRROR_IN_FLIGHT, labels, values[M_IN_FLIGHT])
            samples.add(metrics.MIRROR_BUFFERED, labels, values[M_BUFFERED])
            samples.seen(metrics.MIRROR, labels, MIRROR_OUTCOMES, values, M_OUTCOMES)
            codes = [(f"{code:03}", value) for code, value in enumerate(values[M_CODES:]) if value]
            samples.each(metrics.MIRROR_RESPONSES, labels, codes)
            failures = (("timeout", values[M_TIMEOUTS]), ("failed", values[M_FAILURES]))
            samples.each(metrics.MIRROR_FAILURES, labels, failures)
            samples.histogram(metrics.MIRROR_DURATION, labels, values, M_DURATION)

    def _upstreams(self, samples: Samples, snapshot: Snapshot) -> None:
        # What left the plan and is not open any more says nothing; a connection that is still open is shown.
        live = {key for key, _ in self._ledger.live("upstream")}
        for key, offset in self._ledger.blocks("upstream"):
            counted = snapshot.sparse(offset, BLOCK_SLOTS["upstream"])
            if key not in live and not counted:
                continue
            labels = f'upstream="{escape(key[0])}"'
            states = [(state, counted.get(slot, 0)) for state, slot in _CONNECTION_STATES]
            samples.each(metrics.UPSTREAM_CONNECTIONS, labels, states)
            samples.add(metrics.UPSTREAM_REQUESTS, labels, counted.get(U_REQUESTS, 0))
            samples.add(metrics.UPSTREAM_PENDING, labels, counted.get(U_PENDING, 0))
            samples.add(metrics.PANIC, labels, int(counted.get(U_PANIC, 0) > 0))
        for (upstream, endpoint), offset in self._ledger.live("endpoint"):
            counted = snapshot.sparse(offset, BLOCK_SLOTS["endpoint"])
            labels = f'upstream="{escape(upstream)}",endpoint="{escape(endpoint)}"'
            up = not any(counted.get(slot) for slot in (E_DOWN, E_EJECTED, E_UNHEALTHY))
            samples.add(metrics.ENDPOINT_UP, labels, int(up))
            states = [(state, int(counted.get(slot, 0) > 0)) for state, slot in _ENDPOINT_STATES]
            samples.each(metrics.ENDPOINT_STATE, labels, states)
            causes = [(cause, counted[slot]) for slot, cause in enumerate(CAUSES, E_EJECTIONS) if counted.get(slot)]
            samples.each(metrics.EJECTIONS, labels, causes)
            samples.add(metrics.ENDPOINT_FAILURES, labels, counted.get(E_FAILURES, 0))

    def _workers(self, samples: Samples, snapshot: Snapshot) -> None:
        dropped = 0
        for index in range(self._cells.regions):
            values = snapshot.worker(index, WORKER_SLOTS)
            dropped += values[W_LOG_DROPPED]
            labels = f'worker="{index}"'
            for metric, slot in _OF_WORKERS:
                samples.add(metric, labels, values[slot])
            add_tokens(samples, labels, values)
            add_expressions(samples, labels, values)
            samples.add(metrics.WORKER_LAG, labels, values[W_LOOP_LAG] / 1e9)
        for index, worker in sorted(self._facts.workers.items()):
            labels = f'worker="{index}"'
            if not worker.left:
                samples.add(metrics.WORKER_UP, labels, int(worker.up))
            samples.add(metrics.WORKER_RESTARTS, labels, worker.restarts)
            samples.add(metrics.WORKER_CPU, labels, float(worker.cpu_seconds))
        lost = {"worker": dropped, "full": 0, "failed": 0, **self._facts.access_lines_lost}
        samples.each(metrics.ACCESS_LOST, "", lost.items())

    def _health(self, samples: Samples) -> None:
        for (upstream, endpoint), outcomes in self._facts.health_checks.items():
            labels = f'upstream="{escape(upstream)}",endpoint="{escape(endpoint)}"'
            samples.each(metrics.HEALTH_CHECKS, labels, outcomes.items())

    def _lists(self, samples: Samples) -> None:
        for name, facts in self._facts.lists.items():
            labels = f'list="{escape(name)}"'
            samples.add(metrics.LIST_UNITS, labels, facts.units)
            samples.add(metrics.LIST_CURRENT, labels, int(not facts.problem))
            samples.add(metrics.LIST_TIME, labels, float(facts.taken_at))
            samples.each(metrics.LIST_READS, labels, (("taken", facts.taken), ("refused", facts.refused)))
            samples.each(metrics.LIST_SKIPPED, labels, facts.skipped.items())

    def _control(self, samples: Samples) -> None:
        facts = self._facts
        samples.add(metrics.GENERATION, "", facts.generation)
        samples.add(metrics.RELOAD_SUCCESS, "", int(facts.last_reload_success))
        samples.add(metrics.RELOAD_TIME, "", float(facts.last_reload_time))
        samples.add(metrics.PROBLEMS, "", len(facts.problems))
        samples.add(metrics.LOG_LOST, "", facts.log_lines_lost)
        samples.add(metrics.LOG_REPEATED, "", facts.log_lines_repeated)
        samples.add(metrics.FAULTS_KILLED, "", int(facts.faults_killed))
        taken = facts.reloads - facts.reload_failures
        samples.each(metrics.RELOADS, "", (("taken", taken), ("refused", facts.reload_failures)))
        samples.each(metrics.SLOTS, "", (("used", self._ledger.used), ("limit", LEDGER_SLOTS)))
        self._weights(samples)

    def _weights(self, samples: Samples) -> None:
        sums: dict[str, list[float]] = {}
        for weight in self._facts.weights:
            both = sums.setdefault(weight.route, [0.0, 0.0])
            both[0] += weight.file
            both[1] += weight.effective
        for weight in self._facts.weights:
            labels = f'route="{escape(weight.route)}",version="{escape(weight.version)}"'
            file, effective = sums[weight.route]
            shares = (("file", _percent(weight.file, file)), ("effective", _percent(weight.effective, effective)))
            samples.each(metrics.WEIGHT, labels, shares)


def _percent(part: float, total: float) -> float:
    return part / total * 100 if total else 0.0
