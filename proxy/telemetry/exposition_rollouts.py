"""What a scrape says of rollouts: nothing where there are none."""

from proxy.telemetry import metrics
from proxy.telemetry.facts import RolloutFacts
from proxy.telemetry.samples import Samples, escape


def add_rollouts(samples: Samples, facts: RolloutFacts) -> None:
    """Add the samples."""
    for route, standing in facts.standing.items():
        labels = f'route="{escape(route)}"'
        samples.each(metrics.ROLLOUT_STATE, labels, [(state, int(state == standing.state)) for state in facts.states])
        samples.add(metrics.ROLLOUT_STEP, labels, standing.step + 1)
    for (route, cause), count in facts.transitions.items():
        samples.add(metrics.ROLLOUT_TRANSITIONS, f'route="{escape(route)}",cause="{cause}"', count)
    samples.each(metrics.ROLLOUT_FAILURES, "", facts.failures.items())
    for (when, outcome), count in facts.hooks.items():
        samples.add(metrics.ROLLOUT_HOOKS, f'when="{when}",outcome="{outcome}"', count)
    for (event, outcome), count in facts.notices.items():
        samples.add(metrics.ROLLOUT_NOTICES, f'event="{event}",outcome="{outcome}"', count)
    samples.each(metrics.ROLLOUT_REPORTS, "", facts.reports.items())
    for route in sorted(facts.by_hand):
        samples.add(metrics.WEIGHTS_BY_HAND, f'route="{escape(route)}"', 1)
