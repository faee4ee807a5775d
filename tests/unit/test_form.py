"""In which form the tests run: what they show holds for that form only."""

import importlib
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.form import compiled
from proxy.surfaces.cli.main import tidegate
from proxy.telemetry import counters

EXPECTED = os.environ.get("TIDEGATE_EXPECT_FORM")
"""`compiled` or `interpreted`, set by who knows what was installed."""

FORM = "compiled" if compiled() else "interpreted"

ON_THE_WAY = (
    "proxy.errors",
    "proxy.core.decide",
    "proxy.core.fields",
    "proxy.core.framing",
    "proxy.core.hashing",
    "proxy.core.http1",
    "proxy.core.match",
    "proxy.core.routing",
    "proxy.dataplane.client",
    "proxy.dataplane.exchange",
    "proxy.dataplane.pool",
    "proxy.dataplane.upstream",
    "proxy.telemetry.access_log",
    "proxy.telemetry.counters",
)


@pytest.mark.skipif(EXPECTED is None, reason="TIDEGATE_EXPECT_FORM does not say which form this is")
def test_this_is_the_form_that_was_installed() -> None:
    assert FORM == EXPECTED


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_a_request_meets_one_form_only(name: str) -> None:
    file = importlib.import_module(name).__file__ or ""
    assert file.endswith(tuple(EXTENSION_SUFFIXES) if compiled() else ".py")


def test_sources_lie_beside_what_was_made_of_them() -> None:
    assert Path(counters.__file__ or "").with_name("counters.py").exists()


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_says_which_form_it_is(arguments: list[str]) -> None:
    result = CliRunner().invoke(tidegate, arguments)
    assert result.exit_code == 0
    assert result.output.startswith("tidegate ")
    assert f", {FORM}, Python 3." in result.output
