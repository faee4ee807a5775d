"""A valid configuration takes the place of the one before, as far as it can without a start; a bad one never does."""

import asyncio
import logging

import pytest

from proxy.control.configuration import Configuration
from proxy.settings.loader import Loader
from proxy.settings.problems import SettingsError
from proxy.telemetry.facts import Facts
from proxy.telemetry.ledger import LedgerFullError

CONFIG = """
listen: 127.0.0.1:0
upstreams:
  a: {endpoints: [http://127.0.0.1:1]}
routes:
  - name: shop
    match: {path_prefix: /}
    versions:
      stable: {upstream: a, weight: 95}
"""


class House:
    """A file, the configuration that was first in it, and the plans that were made."""

    def __init__(self, path):
        self.path = path
        self.published = []
        self.full = None
        self.write()
        self.facts = Facts()
        self.configuration = Configuration(self.load(), self.facts)

    def write(self, more="", old="", new=""):
        self.path.write_text(more + CONFIG.replace(old, new))

    def load(self):
        return Loader(self.path, {}).load()

    async def publish(self, spec):
        if self.full is not None:
            raise self.full
        self.published.append(spec)
        self.facts.generation += 1

    def begin(self, *, lasting=True):
        asyncio.run(self.configuration.begin(self.publish, lasting=lasting))

    def take(self):
        return asyncio.run(self.configuration.take(self.load(), self.publish))


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "tidegate.yaml")


def test_the_first_is_published_and_keys_that_nobody_configured_are_warned_of(house, caplog):
    house.begin(lasting=False)
    assert house.published == [house.configuration.loaded.spec]
    assert house.facts.last_reload_success
    assert house.facts.last_reload_time > 0
    assert house.facts.reloads == 0
    (warning,) = [line for line in house.configuration.warnings if line.startswith("secrets.cookie")]
    assert "a stop forgets them" in warning
    assert warning in caplog.text


def test_a_change_is_published_and_told(house, caplog):
    house.begin()
    house.write(old="weight: 95", new="weight: 50")
    with caplog.at_level(logging.INFO):
        assert house.take()
    assert len(house.published) == 2
    assert house.facts.reloads == 1
    assert "weights stable 95 -> 50" in caplog.text


def test_a_file_that_says_the_same_is_not_published(house):
    house.begin()
    house.write(more="# a comment\n")
    assert house.take()
    assert len(house.published) == 1
    assert house.facts.reloads == 1


def test_a_restart_only_key_is_told_and_not_applied(house, caplog):
    house.begin()
    house.write(more="metrics: 127.0.0.1:0\n")
    assert house.take()
    assert house.configuration.settings.metrics is None
    assert "metrics was changed and takes effect with the next start" in house.configuration.warnings
    assert "takes effect with the next start only: metrics" in caplog.text
    house.write()
    assert house.take()
    assert not any("next start" in line for line in house.configuration.warnings)


def test_tokens_of_the_admin_port_change_while_its_address_stays(house):
    house.begin()
    house.write(more='admin: {address: 127.0.0.1:9999, tokens: ["0123456789abcdef0123456789abcdef"]}\n')
    address = house.configuration.settings.admin.address
    assert house.take()
    assert house.configuration.settings.admin.address == address
    assert len(house.configuration.settings.admin.tokens) == 1
    assert "admin.address was changed and takes effect with the next start" in house.configuration.warnings


def test_a_bad_one_is_shown_and_the_next_good_one_ends_that(house, caplog):
    house.begin()
    house.path.write_text("upstreams: [\n")
    with pytest.raises(SettingsError) as raised:
        house.load()
    house.configuration.refuse(raised.value)
    assert not house.facts.last_reload_success
    assert house.facts.problems[0].startswith(f"{house.path}:")
    assert house.facts.reload_failures == 1
    assert "the configuration is not used (1 error); plan 1 goes on" in caplog.text
    house.write(old="weight: 95", new="weight: 50")
    with caplog.at_level(logging.INFO):
        assert house.take()
    assert house.facts.last_reload_success
    assert house.facts.problems == []
    assert (house.facts.reloads, house.facts.reload_failures) == (2, 1)
    assert "the configuration is valid again; plan 2 is in force" in caplog.text


def test_one_that_the_counters_have_no_room_for_is_one_failed_reload(house):
    house.begin()
    house.full = LedgerFullError("no room")
    house.write(old="weight: 95", new="weight: 50")
    before = house.configuration.loaded
    assert not house.take()
    assert house.configuration.loaded is before
    assert house.facts.problems == ["no room"]
    assert (house.facts.reloads, house.facts.reload_failures) == (1, 1)
