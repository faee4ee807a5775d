"""The names, types and meanings of all metrics: the one table that exposition, documentation and tests go by."""

from typing import Final

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


class Metric:
    """One family. `name` is complete: a counter's ends in _total."""

    def __init__(self, name: str, kind: str, labels: tuple[str, ...], meaning: str) -> None:
        self.name: Final = name
        self.kind: Final = kind
        self.labels: Final = labels
        self.meaning: Final = meaning


_ROUTE: Final = ("route", "version")
_SHADOW: Final = ("route", "upstream")
_WORKER: Final = ("worker",)

REQUESTS: Final = Metric(
    "tidegate_requests_total", COUNTER, ("route", "version", "served", "code"),
    "Requests answered, by the version assigned, the version that served, and the status code.",
)  # fmt: skip
DURATION: Final = Metric(
    "tidegate_request_duration_seconds",
    HISTOGRAM,
    _ROUTE,
    "From a request's first byte to its answer's last, in seconds.",
)
UPSTREAM_DURATION: Final = Metric(
    "tidegate_upstream_duration_seconds",
    HISTOGRAM,
    _ROUTE,
    "From the request sent upstream to the head of its answer, in seconds.",
)
REQUEST_BYTES: Final = Metric(
    "tidegate_request_bytes_total", COUNTER, _ROUTE, "Bytes of request bodies received from clients."
)
RESPONSE_BYTES: Final = Metric(
    "tidegate_response_bytes_total", COUNTER, _ROUTE, "Bytes of response bodies sent to clients."
)
IN_FLIGHT: Final = Metric("tidegate_in_flight", GAUGE, _ROUTE, "Requests being answered now.")
ERRORS: Final = Metric(
    "tidegate_errors_total", COUNTER, ("route", "version", "flag"),
    "Requests that the version assigned failed, whoever answered in the end, by the flag that says how;"
    " 5xx is an answer of the upstream's own.",
)  # fmt: skip
DECISIONS: Final = Metric(
    "tidegate_decisions_total", COUNTER, ("route", "version", "reason"), "Assignments, by the reason for the version."
)
WEIGHT: Final = Metric(
    "tidegate_weight_percent", GAUGE, ("route", "version", "source"),
    "Share of the split in percent, as the file has it and as it is in force.",
)  # fmt: skip
RETRIES: Final = Metric(
    "tidegate_retries_total", COUNTER, ("route", "version", "outcome"),
    "Requests sent again, by how that ended: success, failure, abandoned by the client; retries that were not made, by why:"
    " budget_exhausted, not_repeatable, deadline, retry_after; stale_connection: sent once more because the pooled connection"
    " had just been closed.",
)  # fmt: skip
RETRYING: Final = Metric("tidegate_retrying", GAUGE, _ROUTE, "Requests being tried again now.")
HEDGES: Final = Metric(
    "tidegate_hedges_total", COUNTER, ("route", "version", "outcome"),
    "Second requests: fired, each of which won, lost or failed; and those not sent: budget, unavailable.",
)  # fmt: skip
BREAKER_STATE: Final = Metric(
    "tidegate_breaker_state", GAUGE, ("route", "version", "state"),
    "Workers whose breaker of the version is closed, half_open or open.",
)  # fmt: skip
BREAKER_OPENED: Final = Metric(
    "tidegate_breaker_opened_total", COUNTER, _ROUTE,
    "Times the version's breaker has opened; workers that followed one that had are not counted again.",
)  # fmt: skip
LIMITED: Final = Metric(
    "tidegate_limited_total", COUNTER, ("route", "version", "cause"),
    "Requests refused before an upstream was asked: rate, queue_full, queue_timeout, shed or admission.",
)  # fmt: skip
QUEUED: Final = Metric("tidegate_queued", GAUGE, _ROUTE, "Requests that wait for their turn now.")
CONCURRENCY_LIMIT: Final = Metric(
    "tidegate_concurrency_limit", GAUGE, _ROUTE, "Requests there may be at once, where the limit follows the latency."
)
FAULTS: Final = Metric(
    "tidegate_faults_total", COUNTER, ("route", "version", "kind"),
    "Requests disturbed on purpose, by what was put in; capped: not disturbed, for `faults.max_percent` were already.",
)  # fmt: skip
CHOICES: Final = Metric(
    "tidegate_choices_total", COUNTER, ("route", "version", "outcome"),
    "Requests to the page where units choose a version: by the version chosen or left, else by the one assigned. Chosen less"
    " left: who has it by choice.",
)  # fmt: skip
MARKED_REQUESTS: Final = Metric(
    "tidegate_marked_requests_total", COUNTER, _ROUTE,
    "Requests that analysis leaves out: disturbed on purpose, or answered by what had just begun.",
)  # fmt: skip
MARKED_ERRORS: Final = Metric(
    "tidegate_marked_errors_total", COUNTER, _ROUTE, "Those of them that count in tidegate_errors_total."
)
EXPOSURES: Final = Metric(
    "tidegate_exposures_total", COUNTER, ("route", "outcome"),
    "Records of who got which version: recorded (a unit's first, or a change), repeated (known already), dropped (no room).",
)  # fmt: skip
EXPOSURE_FAILURES: Final = Metric(
    "tidegate_exposure_failures_total", COUNTER, ("kind",),
    "What failed in keeping exposures: store (the file could not be written), corrupt (it was set aside), stream (the JSON"
    " lines could not be written), message (one could not be taken in).",
)  # fmt: skip
EXPOSURE_RECORDS: Final = Metric("tidegate_exposure_records", GAUGE, (), "Records of exposures that are kept now.")
EXPOSURE_BYTES: Final = Metric("tidegate_exposure_store_bytes", GAUGE, (), "Bytes that they take.")
SAMPLE_RATIO: Final = Metric(
    "tidegate_sample_ratio_log_bayes_factor", GAUGE, ("route", "segment", "source"),
    "ln of the evidence that new units were not dealt by the weights asked for, since these weights are in force; above 6.9"
    " (1000 to 1) they were not. Segment and source: empty for all.",
)  # fmt: skip
FLAG_EVALUATIONS: Final = Metric(
    "tidegate_flag_evaluations_total", COUNTER, ("flag", "variant", "reason"),
    "Flags that applications asked for, by what they came to; reason ERROR: there was no unit to deal.",
)  # fmt: skip
FLAG_REQUESTS: Final = Metric(
    "tidegate_flag_requests_total", COUNTER, ("kind", "code"),
    "Requests on the port of flags: single, bulk, events, preflight, other; by status code.",
)  # fmt: skip
FLAG_TOKENS: Final = Metric(
    "tidegate_flag_tokens_total", COUNTER, ("outcome",),
    "Tokens that came with a question for flags, by what became of them; all but verified are no identity.",
)  # fmt: skip
FLAG_STREAMS: Final = Metric("tidegate_flag_streams", GAUGE, (), "Streams of changes of flags that are open now.")
ROLLOUT_STATE: Final = Metric(
    "tidegate_rollout_state",
    GAUGE,
    ("route", "state"),
    "1 for the state that the route's rollout is in, 0 for the others.",
)
ROLLOUT_STEP: Final = Metric(
    "tidegate_rollout_step", GAUGE, ("route",), "The step that the route's rollout is at, from 1; 0 before the first."
)
ROLLOUT_TRANSITIONS: Final = Metric(
    "tidegate_rollout_transitions_total", COUNTER, ("route", "cause"),
    "Transitions of the route's rollouts, by cause, since this control process began.",
)  # fmt: skip
ROLLOUT_FAILURES: Final = Metric(
    "tidegate_rollout_failures_total", COUNTER, ("kind",),
    "What kept rollouts from moving: journal (it could not be written), publish (no room for the plan), look (an exception that"
    " nothing expected).",
)  # fmt: skip
ROLLOUT_HOOKS: Final = Metric(
    "tidegate_rollout_hooks_total", COUNTER, ("when", "outcome"),
    "Calls of webhooks of rollouts: ok, vetoed, failed (no answer, or an error, after all tries), dropped (too many under way).",
)  # fmt: skip
ROLLOUT_NOTICES: Final = Metric(
    "tidegate_rollout_notices_total", COUNTER, ("event", "outcome"),
    "Notices of rollouts: sent, failed (after all tries), dropped (too many wait for the same place).",
)  # fmt: skip
ROLLOUT_REPORTS: Final = Metric(
    "tidegate_rollout_reports_total", COUNTER, ("outcome",), "Reports of aborted rollouts: written, failed."
)  # fmt: skip
WEIGHTS_BY_HAND: Final = Metric(
    "tidegate_weights_by_hand", GAUGE, ("route",), "1 while weights that somebody set by hand hold for the route."
)
CACHE: Final = Metric(
    "tidegate_cache_total", COUNTER, ("route", "version", "outcome"),
    "Requests by what became of them at the cache: hit, stale, revalidated, miss or bypass. And answers: stored, evicted,"
    " refreshed.",
)  # fmt: skip
MIRROR: Final = Metric(
    "tidegate_mirror_total",
    COUNTER,
    ("route", "upstream", "outcome"),
    "Requests by what became of their copy: sent, or why not.",
)
MIRROR_RESPONSES: Final = Metric(
    "tidegate_mirror_responses_total", COUNTER, ("route", "upstream", "code"), "Answers of shadows, by status code."
)
MIRROR_DURATION: Final = Metric(
    "tidegate_mirror_duration_seconds",
    HISTOGRAM,
    _SHADOW,
    "From a copy sent to the end of the shadow's answer, in seconds.",
)
MIRROR_FAILURES: Final = Metric(
    "tidegate_mirror_failures_total", COUNTER, ("route", "upstream", "kind"),
    "Copies sent that got no whole answer: timeout, or failed.",
)  # fmt: skip
VERDICT: Final = Metric(
    "tidegate_verdict", GAUGE, ("route", "metric", "verdict"),
    "1 for what the gates of a rollout under way said last of a metric: pass, fail or insufficient.",
)  # fmt: skip
EVIDENCE_DROPPED: Final = Metric(
    "tidegate_evidence_dropped_total", COUNTER, ("route", "reason"),
    "What units had and verdicts do not know of: first_events and events (no room), events_again (an `id` that was counted"
    " before), stretches (too many weights), of_another_run (it came late), message (it could not be read).",
)  # fmt: skip
BRAKES: Final = Metric(
    "tidegate_brakes_total", COUNTER, _ROUTE,
    "Times the early brake stopped the version: the control process, or, while there was none, a worker.",
)  # fmt: skip
EVENTS: Final = Metric("tidegate_events_total", COUNTER, ("event",), "Events of units that were posted and counted.")
QUERIES: Final = Metric(
    "tidegate_queries_total", COUNTER, ("route", "outcome"),
    "Queries of Prometheus by rollouts: answered, or no number because it was unreachable, or timeout, refused, empty, many,"
    " not_a_number, unreadable.",
)  # fmt: skip
MIRROR_IN_FLIGHT: Final = Metric("tidegate_mirror_in_flight", GAUGE, _SHADOW, "Copies whose answer is awaited now.")
MIRROR_BUFFERED: Final = Metric(
    "tidegate_mirror_buffered_bytes", GAUGE, _SHADOW, "Bytes held for copies that the shadow has not taken yet."
)
UPSTREAM_CONNECTIONS: Final = Metric(
    "tidegate_upstream_connections",
    GAUGE,
    ("upstream", "state"),
    "Connections to the upstream: connecting, active or idle.",
)
UPSTREAM_REQUESTS: Final = Metric("tidegate_upstream_requests", GAUGE, ("upstream",), "Requests at the upstream now.")
UPSTREAM_PENDING: Final = Metric(
    "tidegate_upstream_pending_requests", GAUGE, ("upstream",), "Requests that wait for a connection now."
)
ENDPOINT_UP: Final = Metric(
    "tidegate_endpoint_up",
    GAUGE,
    ("upstream", "endpoint"),
    "1, or 0 while the endpoint is unreachable, ejected or unhealthy in any worker.",
)
ENDPOINT_STATE: Final = Metric(
    "tidegate_endpoint_state", GAUGE, ("upstream", "endpoint", "state"),
    "1 while the endpoint is unreachable or ejected in any worker, unhealthy (its checks fail), or drained.",
)  # fmt: skip
EJECTIONS: Final = Metric(
    "tidegate_ejections_total", COUNTER, ("upstream", "endpoint", "cause"),
    "Times a worker ejected the endpoint: consecutive_5xx, consecutive_gateway, success_rate, latency.",
)  # fmt: skip
PANIC: Final = Metric(
    "tidegate_upstream_panic", GAUGE, ("upstream",),
    "1 while a worker ignores the endpoints' health, because too few are well.",
)  # fmt: skip
ENDPOINT_FAILURES: Final = Metric(
    "tidegate_endpoint_connect_failures_total",
    COUNTER,
    ("upstream", "endpoint"),
    "Connects to the endpoint that failed.",
)
HEALTH_CHECKS: Final = Metric(
    "tidegate_health_checks_total", COUNTER, ("upstream", "endpoint", "outcome"),
    "Checks of the endpoint: passed, status (not an expected one), timeout, unreachable,"
    " broken (no HTTP, or bad TLS), or late (control had no time, or no descriptor).",
)  # fmt: skip
GENERATION: Final = Metric("tidegate_config_generation", GAUGE, (), "Number of the plan in force.")
RELOAD_SUCCESS: Final = Metric(
    "tidegate_config_last_reload_success", GAUGE, (), "1 if the configuration last read was taken, 0 if it was refused."
)
RELOAD_TIME: Final = Metric(
    "tidegate_config_last_reload_seconds", GAUGE, (), "When the plan in force was taken, in seconds since the epoch."
)
RELOADS: Final = Metric(
    "tidegate_config_reloads_total", COUNTER, ("outcome",), "Times the configuration was read: taken, or refused."
)
PROBLEMS: Final = Metric("tidegate_config_problems", GAUGE, (), "Errors in the configuration as it lies there now.")
LIST_UNITS: Final = Metric("tidegate_list_units", GAUGE, ("list",), "Units in the list of a `units_file`.")
LIST_CURRENT: Final = Metric(
    "tidegate_list_current", GAUGE, ("list",),
    "1, or 0 while the file as it lies there cannot be used and the list read before it is.",
)  # fmt: skip
LIST_TIME: Final = Metric(
    "tidegate_list_last_read_seconds", GAUGE, ("list",), "When the list was taken, in seconds since the epoch."
)
LIST_READS: Final = Metric(
    "tidegate_list_reads_total", COUNTER, ("list", "outcome"), "Times the file was read: taken, or refused."
)
LIST_SKIPPED: Final = Metric(
    "tidegate_list_lines_skipped", GAUGE, ("list", "cause"),
    "Lines of the file that are left out: not_text (not UTF-8), too_long, duplicate.",
)  # fmt: skip
TOKENS: Final = Metric(
    "tidegate_tokens_total", COUNTER, ("worker", "outcome"),
    "Tokens of requests on routes that look at claims, by what became of them; all but the verified are no identity.",
)  # fmt: skip
CAP_UNITS: Final = Metric(
    "tidegate_cap_units", GAUGE, ("route", "version"), "Units that have ever had a capped version, in its salt epoch."
)
CAP_LIMIT: Final = Metric(
    "tidegate_cap_limit", GAUGE, ("route", "version"), "How many may: from there on nobody new gets the version."
)
CAP_CURRENT: Final = Metric(
    "tidegate_cap_current", GAUGE, ("route", "version"), "1, or 0 while the record of a cap cannot be kept or read.",
)  # fmt: skip
CAP_ADMISSIONS: Final = Metric(
    "tidegate_cap_admissions_total", COUNTER, ("route", "version", "outcome"),
    "Units that were new to a capped version: admitted, or sent elsewhere because the record was busy (contended).",
)  # fmt: skip
CEL_ERRORS: Final = Metric(
    "tidegate_cel_errors_total", COUNTER, ("worker", "cause"),
    "Expressions that could not be evaluated, and so did not match: absent (an entry that is not there was asked for), failed.",
)  # fmt: skip
TOKEN_KEYS: Final = Metric("tidegate_token_keys", GAUGE, (), "Keys that tokens are verified with.")
TOKEN_KEYS_CURRENT: Final = Metric(
    "tidegate_token_keys_current",
    GAUGE,
    (),
    "1 while the keys are those of the file or URL, 0 while they are older ones.",
)
TOKEN_KEYS_TIME: Final = Metric(
    "tidegate_token_keys_last_read_seconds", GAUGE, (), "When the keys were taken, in seconds since the epoch."
)
TOKEN_KEY_READS: Final = Metric(
    "tidegate_token_key_reads_total", COUNTER, ("outcome",), "Times the keys were read: taken, or refused."
)
TOKEN_KEYS_EARLY: Final = Metric(
    "tidegate_token_keys_early_total",
    COUNTER,
    (),
    "Fetches of keys before their time: a token named one that was not there.",
)
PLUGIN_ERRORS: Final = Metric(
    "tidegate_plugin_errors_total", COUNTER, ("plugin", "hook", "cause"),
    "Times a hook of a plugin said nothing, by why: error, invalid, timeout, disabled, busy; overrun: it took too long, and what"
    " it said counts.",
)  # fmt: skip
PLUGIN_SECONDS: Final = Metric(
    "tidegate_plugin_seconds", HISTOGRAM, ("plugin", "hook"), "Time of the hooks of plugins, in seconds; of `async` ones with"
    " what they waited for.",
)  # fmt: skip
PLUGIN_ANSWERS: Final = Metric(
    "tidegate_plugin_answers_total", COUNTER, ("plugin",), "Requests that a plugin answered, in the upstream's stead."
)
PLUGIN_OVERRIDES: Final = Metric(
    "tidegate_plugin_overrides_total", COUNTER, ("plugin",), "Decisions for which a plugin named another version."
)
PLUGIN_IN_FLIGHT: Final = Metric(
    "tidegate_plugin_in_flight",
    GAUGE,
    ("plugin",),
    "Calls of `async` hooks under way now, those that were cut off and go on too.",
)
PLUGIN_DISABLED: Final = Metric(
    "tidegate_plugin_hooks_disabled",
    GAUGE,
    ("plugin",),
    "Hooks that are not asked now, because of overruns, over all workers.",
)
WORKER_UP: Final = Metric("tidegate_worker_up", GAUGE, _WORKER, "1 while the worker serves a plan.")
WORKER_RESTARTS: Final = Metric(
    "tidegate_worker_restarts_total", COUNTER, _WORKER, "Times the worker's process was replaced."
)
WORKER_STALLS: Final = Metric(
    "tidegate_worker_stalls_total", COUNTER, _WORKER,
    "Times the worker was replaced because its event loop stood still (`watchdog`).",
)  # fmt: skip
WORKER_CPU: Final = Metric(
    "tidegate_worker_cpu_seconds_total", COUNTER, _WORKER, "User and system time of the worker's processes, in seconds."
)
WORKER_LAG: Final = Metric(
    "tidegate_worker_loop_lag_seconds",
    GAUGE,
    _WORKER,
    "How late the worker's event loop was when last measured, in seconds.",
)
WORKER_FAILURES: Final = Metric(
    "tidegate_worker_failures_total", COUNTER, _WORKER, "Exceptions in the worker that nothing expected."
)
WORKER_REQUESTS: Final = Metric("tidegate_worker_requests_total", COUNTER, _WORKER, "Requests the worker took.")
CONNECTIONS: Final = Metric("tidegate_client_connections", GAUGE, _WORKER, "Client connections open now.")
ACCEPTED: Final = Metric("tidegate_client_connections_accepted_total", COUNTER, _WORKER, "Client connections accepted.")
REFUSED: Final = Metric(
    "tidegate_client_connections_refused_total", COUNTER, _WORKER,
    "Client connections closed at once because the limit was reached.",
)  # fmt: skip
RATE_KEYS_FORGOTTEN: Final = Metric(
    "tidegate_rate_keys_forgotten_total", COUNTER, _WORKER,
    "Keys of rate limits that made room for others while they were in use.",
)  # fmt: skip
DEADLINES_IGNORED: Final = Metric(
    "tidegate_deadlines_ignored_total", COUNTER, _WORKER, "Deadlines of trusted peers that could not be read."
)
FAULTS_KILLED: Final = Metric("tidegate_faults_killed", GAUGE, (), "1 while faults are switched off by hand.")
TUNNELS: Final = Metric("tidegate_tunnels", GAUGE, _WORKER, "Upgraded connections (WebSocket) open now.")
TUNNELS_RETIRED: Final = Metric(
    "tidegate_tunnels_retired_total", COUNTER, _WORKER,
    "Upgraded connections ended by `timeouts.tunnel_max_age`: their version was out of service, or the worker drained.",
)  # fmt: skip
ACCESS_LOST: Final = Metric(
    "tidegate_access_log_lines_dropped_total", COUNTER, ("reason",),
    "Access log lines lost: worker (its buffer was full), full (the writer's queue was), failed (the write did).",
)  # fmt: skip
LOG_LOST: Final = Metric("tidegate_log_lines_lost_total", COUNTER, (), "Log lines that could not be written.")
LOG_REPEATED: Final = Metric(
    "tidegate_log_lines_repeated_total", COUNTER, (), "Log lines held back because the same had just been written."
)
SLOTS: Final = Metric(
    "tidegate_ledger_slots", GAUGE, ("state",), "Counters of a worker: used, and the most there can be."
)

METRICS: Final[tuple[Metric, ...]] = (
    REQUESTS, DURATION, UPSTREAM_DURATION, REQUEST_BYTES, RESPONSE_BYTES, IN_FLIGHT, ERRORS, DECISIONS, WEIGHT,
    RETRIES, RETRYING, HEDGES, BREAKER_STATE, BREAKER_OPENED,
    LIMITED, QUEUED, CONCURRENCY_LIMIT, CACHE,
    CAP_UNITS, CAP_LIMIT, CAP_CURRENT, CAP_ADMISSIONS,
    EXPOSURES, EXPOSURE_FAILURES, EXPOSURE_RECORDS, EXPOSURE_BYTES, SAMPLE_RATIO,
    FLAG_EVALUATIONS, FLAG_REQUESTS, FLAG_TOKENS, FLAG_STREAMS,
    ROLLOUT_STATE, ROLLOUT_STEP, ROLLOUT_TRANSITIONS, ROLLOUT_FAILURES, ROLLOUT_HOOKS, ROLLOUT_NOTICES,
    ROLLOUT_REPORTS, WEIGHTS_BY_HAND,
    VERDICT, EVIDENCE_DROPPED, BRAKES, EVENTS, QUERIES,
    FAULTS, CHOICES, MARKED_REQUESTS, MARKED_ERRORS,
    MIRROR, MIRROR_RESPONSES, MIRROR_DURATION, MIRROR_FAILURES, MIRROR_IN_FLIGHT, MIRROR_BUFFERED,
    UPSTREAM_CONNECTIONS, UPSTREAM_REQUESTS, UPSTREAM_PENDING, PANIC, ENDPOINT_UP, ENDPOINT_STATE, EJECTIONS, ENDPOINT_FAILURES,
    HEALTH_CHECKS,
    GENERATION, RELOAD_SUCCESS, RELOAD_TIME, RELOADS, PROBLEMS,
    LIST_UNITS, LIST_CURRENT, LIST_TIME, LIST_READS, LIST_SKIPPED,
    CEL_ERRORS, TOKENS, TOKEN_KEYS, TOKEN_KEYS_CURRENT, TOKEN_KEYS_TIME, TOKEN_KEY_READS, TOKEN_KEYS_EARLY,
    PLUGIN_ERRORS, PLUGIN_SECONDS, PLUGIN_ANSWERS, PLUGIN_OVERRIDES, PLUGIN_IN_FLIGHT, PLUGIN_DISABLED,
    WORKER_UP, WORKER_RESTARTS, WORKER_STALLS, WORKER_CPU, WORKER_LAG, WORKER_FAILURES, WORKER_REQUESTS,
    CONNECTIONS, ACCEPTED, REFUSED, RATE_KEYS_FORGOTTEN, DEADLINES_IGNORED, FAULTS_KILLED, TUNNELS, TUNNELS_RETIRED,
    ACCESS_LOST, LOG_LOST, LOG_REPEATED, SLOTS,
)  # fmt: skip
