"""No request costs more instructions than it did: counted under callgrind, as a multiple of work that never changes."""

import shutil

import pytest

from bench.counted import BOUNDS, advice, excesses, load_bounds
from bench.instructions import measure
from proxy.form import compiled


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_no_request_costs_more_than_its_bound() -> None:
    result = measure(interpreted=not compiled())
    assert result.compiled == compiled()
    bounds = load_bounds()
    if result.form not in bounds:
        pytest.skip(f"{BOUNDS.name} has bounds for {', '.join(bounds)}, and this is {result.form}")
    found = excesses(result, bounds)
    if found:
        pytest.fail("\n".join(["a request costs more than it did:", *found, advice(result)]), pytrace=False)
