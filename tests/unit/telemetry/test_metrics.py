from pathlib import Path

from proxy.telemetry.metrics import COUNTER, METRICS

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"

# Names and labels that dashboards and rules rely on.
FIXED = {
    "tidegate_requests_total": "route version served code",
    "tidegate_request_duration_seconds": "route version",
    "tidegate_upstream_duration_seconds": "route version",
    "tidegate_request_bytes_total": "route version",
    "tidegate_response_bytes_total": "route version",
    "tidegate_in_flight": "route version",
    "tidegate_errors_total": "route version flag",
    "tidegate_decisions_total": "route version reason",
    "tidegate_weight_percent": "route version source",
    "tidegate_mirror_total": "route upstream outcome",
    "tidegate_mirror_responses_total": "route upstream code",
    "tidegate_mirror_duration_seconds": "route upstream",
    "tidegate_upstream_connections": "upstream state",
    "tidegate_endpoint_up": "upstream endpoint",
    "tidegate_health_checks_total": "upstream endpoint outcome",
    "tidegate_retries_total": "route version outcome",
    "tidegate_cache_total": "route version outcome",
    "tidegate_config_generation": "",
    "tidegate_config_last_reload_success": "",
    "tidegate_config_last_reload_seconds": "",
    "tidegate_worker_up": "worker",
    "tidegate_worker_restarts_total": "worker",
    "tidegate_worker_cpu_seconds_total": "worker",
    "tidegate_worker_loop_lag_seconds": "worker",
}


def test_fixed_names_have_their_fixed_labels():
    labels = {metric.name: " ".join(metric.labels) for metric in METRICS}
    assert FIXED.items() <= labels.items()


def test_names_are_unique_and_counters_end_in_total():
    assert len({metric.name.removesuffix("_total") for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == COUNTER), metric.name


def test_the_document_has_every_metric_and_no_other():
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| tidegate_")]
    assert rows == [f"| {one.name} | {one.kind} | {', '.join(one.labels)} | {one.meaning} |" for one in METRICS]
