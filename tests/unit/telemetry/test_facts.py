"""What control knows of itself and its workers."""

from proxy.telemetry.facts import Facts


def test_a_plan_is_in_force_when_all_who_serve_have_it():
    facts = Facts()
    assert facts.in_force == -1
    for index, generation in ((0, 7), (1, 8), (2, 3)):
        facts.worker(index).up, facts.worker(index).generation = True, generation
    assert facts.in_force == 3
    facts.worker(2).ended(1.0)
    assert facts.in_force == 7
    facts.worker(0).started(5)
    assert facts.in_force == 8
