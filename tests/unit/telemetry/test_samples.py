"""Lines as both formats have them, under the family they belong to."""

from proxy.telemetry import metrics
from proxy.telemetry.samples import Samples, escape

LABELS = 'route="shop",version="stable"'


def test_a_sample_has_its_labels_or_no_braces():
    samples = Samples()
    samples.add(metrics.IN_FLIGHT, LABELS, 3)
    samples.add(metrics.GENERATION, "", 7)
    samples.add(metrics.WORKER_LAG, 'worker="0"', 0.25)
    assert samples.lines[metrics.IN_FLIGHT.name] == [f"tidegate_in_flight{{{LABELS}}} 3"]
    assert samples.lines[metrics.GENERATION.name] == ["tidegate_config_generation 7"]
    assert samples.lines[metrics.WORKER_LAG.name] == ['tidegate_worker_loop_lag_seconds{worker="0"} 0.25']


def test_the_familys_last_label_tells_kinds_apart():
    samples = Samples()
    samples.each(metrics.FAULTS, LABELS, [("delay", 2), ("abort", 0)])
    samples.each(metrics.SLOTS, "", [("used", 5)])
    assert samples.lines[metrics.FAULTS.name] == [
        f'tidegate_faults_total{{{LABELS},kind="delay"}} 2',
        f'tidegate_faults_total{{{LABELS},kind="abort"}} 0',
    ]
    assert samples.lines[metrics.SLOTS.name] == ['tidegate_ledger_slots{state="used"} 5']


def test_kinds_that_were_never_seen_have_no_sample():
    samples = Samples()
    samples.seen(metrics.FAULTS, LABELS, ("delay", "abort", "reset"), [9, 9, 4, 0, 1, 9], 2)
    samples.seen(metrics.LIMITED, LABELS, ("rate", "shed"), [0, 0], 0)
    assert samples.lines[metrics.FAULTS.name] == [
        f'tidegate_faults_total{{{LABELS},kind="delay"}} 4',
        f'tidegate_faults_total{{{LABELS},kind="reset"}} 1',
    ]
    assert samples.lines[metrics.LIMITED.name] == []


def test_what_would_end_a_label_value_is_escaped():
    assert escape('a"b\\c\nd') == r"a\"b\\c\nd"
