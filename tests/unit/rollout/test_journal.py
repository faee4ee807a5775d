"""The journal keeps what it has answered for, numbers each transition once, and stays bounded."""

import asyncio
import sqlite3
from dataclasses import replace

import pytest

from proxy.rollout import journal as module
from proxy.rollout.journal import (
    NUMBERS_LIMIT,
    JournalError,
    Override,
    Progress,
    Record,
    SqliteJournal,
    TakenError,
    open_journal,
)
from proxy.rollout.machine import begin
from proxy.rollout.states import State

FIRST = Record("shop", "v2", 1, 100.0, "", "pending", 0, "begin", "file", "revision v2", {"a": 1}, {"state": "pending"})
BY_HAND = Override({"stable": 80.0, "canary": 20.0}, {"stable": 95.0, "canary": 5.0}, "anna", "a try", 50.0, 150.0)


def record(sequence, route="shop", **more):
    return replace(FIRST, sequence=sequence, route=route, **more)


@pytest.fixture(params=["memory", "file"])
def path(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "s.db"


def play(path, script):
    async def run():
        journal = SqliteJournal(path)
        try:
            return await script(journal)
        finally:
            await journal.close()

    return asyncio.run(run())


def test_the_last_record_of_each_route_is_what_counts(path):
    async def script(journal):
        assert (await journal.load()).last == {}
        await journal.append(record(1))
        await journal.append(record(1, "other"))
        await journal.append(record(2, after="progressing", at=90.0))  # the clock went back, and it is the later one
        return (await journal.load()).last, await journal.history("shop", 10)

    last, history = play(path, script)
    assert last == {"shop": record(2, after="progressing", at=90.0), "other": record(1, "other")}
    assert [one.sequence for one in history] == [2, 1]
    assert history[1] == FIRST


def test_a_number_is_taken_once_and_the_first_stays(path):
    async def script(journal):
        await journal.append(record(1))
        with pytest.raises(TakenError, match="transition 1 of route shop, revision v2"):
            await journal.append(record(1, after="aborted"))
        await journal.append(record(1, revision="v3"))
        return await journal.history("shop", 10)

    assert [(one.revision, one.after) for one in play(path, script)] == [("v3", "pending"), ("v2", "pending")]


def test_progress_is_replaced_and_ends_with_the_next_transition(path):
    async def script(journal):
        await journal.append(record(1))
        await journal.observe({"shop": Progress("v2", 1, {"observed": 3.0}), "b": Progress("x", 4, {})})
        await journal.observe({"shop": Progress("v2", 1, {"observed": 5.0})})
        before = (await journal.load()).progress
        await journal.append(record(2))
        return before, (await journal.load()).progress

    before, after = play(path, script)
    assert before == {"shop": Progress("v2", 1, {"observed": 5.0}), "b": Progress("x", 4, {})}
    assert after == {"b": Progress("x", 4, {})}


def test_weights_by_hand_are_kept_replaced_and_forgotten(path):
    async def script(journal):
        await journal.put_override("shop", BY_HAND)
        await journal.put_override("shop", replace(BY_HAND, until=None))
        before = (await journal.load()).overrides
        await journal.remove_override("shop")
        await journal.remove_override("shop")
        return before, (await journal.load()).overrides

    assert play(path, script) == ({"shop": replace(BY_HAND, until=None)}, {})


def test_old_records_go_and_the_last_of_a_route_never(path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 4)
    monkeypatch.setattr(module, "KEPT_OF_ALL", 6)

    async def script(journal):
        await journal.append(record(1, "quiet"))
        for sequence in range(1, 10):
            await journal.append(record(sequence))
        one = [each.sequence for each in await journal.history("shop", 100)]
        for sequence in range(1, 4):
            await journal.append(record(sequence, "other"))
        rest = [(await journal.history(route, 100)) for route in ("quiet", "shop", "other")]
        return one, [[each.sequence for each in route] for route in rest]

    assert play(path, script) == ([9, 8, 7, 6], [[1], [9, 8], [3, 2, 1]])


def test_a_rollout_is_read_back_as_it_was_and_numbers_beyond_all_measure_say_that_they_are_left_out(path):
    plan = {"revision": "v2", "from": "stable", "to": "canary", "baseline": None, "steps": []}
    before = begin("shop", plan, {"stable": 95.0, "canary": 5.0}, 100.0)
    small = replace(before, numbers={"errors": {"effect": 1.5, "never": float("inf")}})
    large = replace(before, sequence=2, numbers={"long": "x" * NUMBERS_LIMIT})

    async def script(journal):
        await journal.append(Record.of(small, None), Record.of(large, State.PENDING))
        return await journal.history("shop", 2)

    second, first = play(path, script)
    assert first.restored() == small
    assert (first.before, first.after, second.before, first.cause) == ("", "pending", "pending", "created")
    assert second.numbers["left_out"].startswith("65547 characters of numbers")
    assert second.restored() == replace(large, numbers=second.numbers)


def test_several_transitions_are_kept_together_or_not_at_all(path):
    async def script(journal):
        await journal.append(record(1))
        with pytest.raises(TakenError):
            await journal.append(record(2), record(1))
        return await journal.history("shop", 10)

    assert [one.sequence for one in play(path, script)] == [1]


def test_what_was_answered_for_is_there_for_the_next_process_and_only_for_its_owner(tmp_path):
    path = tmp_path / "s.db"

    async def write(journal):
        await journal.append(FIRST)
        await journal.put_override("shop", BY_HAND)

    play(path, write)
    assert path.stat().st_mode & 0o777 == 0o600
    kept = play(path, lambda journal: journal.load())
    assert (kept.last, kept.overrides) == ({"shop": FIRST}, {"shop": BY_HAND})


def test_a_transition_is_committed_when_append_returns(tmp_path):
    path = tmp_path / "s.db"

    async def script(journal):
        await journal.append(FIRST)
        with sqlite3.connect(path) as other:  # as a process sees it that starts after a kill -9
            rows = other.execute("SELECT route, sequence, after FROM rollout_transitions").fetchall()
        other.close()
        return rows

    assert play(path, script) == [("shop", 1, "pending")]


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "s.db"
    path.write_bytes(b"not a database at all, and long enough to be looked at")
    with pytest.raises(JournalError, match=r"s\.db: the journal of rollouts: .*must be a SQLite database"):
        play(path, lambda journal: journal.append(FIRST))


def test_values_of_another_time_that_cannot_be_understood_are_said(tmp_path):
    path = tmp_path / "s.db"
    play(path, lambda journal: journal.put_override("shop", BY_HAND))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE weight_overrides SET override = '{}'")
    database.close()
    with pytest.raises(JournalError, match="cannot be understood: KeyError"):
        play(path, lambda journal: journal.load())


def test_the_journal_lies_where_the_state_is(tmp_path):
    async def script():
        lasting = open_journal("sqlite:s.db", tmp_path)
        fleeting = open_journal(None, tmp_path)
        await lasting.load()
        await lasting.close()
        await fleeting.close()
        return lasting.lasting, fleeting.lasting

    assert asyncio.run(script()) == (True, False)
    assert (tmp_path / "s.db").exists()
