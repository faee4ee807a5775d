"""Reports appear all at once, once for each abort, and stay few; whatever others wrote makes no markup of its own."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout import report as module
from proxy.rollout.report import (
    TIMELINE,
    Incident,
    Latency,
    ReportError,
    charts,
    error_percents,
    exceeding,
    files_of,
    name_of,
    write,
)
from proxy.rollout.states import State
from proxy.rollout.track import Track
from tests.unit.rollout.rollouts import a_rollout


def an_incident(sequence=7, since=1_790_000_000.0, **given):
    rollout = a_rollout(state=State.ABORTED, sequence=sequence, since=since, reason="five times the errors")
    return Incident(rollout, since, [a_row(since)], **given)


def a_row(at=0.0, **given):
    return {
        "at": at, "before": "progressing", "after": "aborted", "step": 1, "cause": "step_failed", "actor": "tidegate",
        "reason": "five times the errors", "numbers": {},
    } | given  # fmt: skip


def names(directory):
    return sorted(one.name for one in directory.iterdir())


def test_a_report_is_a_directory_named_by_its_transition(tmp_path):
    place = write(an_incident(), tmp_path / "deep" / "reports")
    assert place.name == "20260921T141320Z-shop-v2-7"
    assert names(place) == ["report.json", "report.md"]
    assert names(place.parent) == [place.name]
    assert "five times the errors" in (place / "report.md").read_text()


def test_the_same_transition_is_reported_once(tmp_path):
    place = write(an_incident(), tmp_path)
    (place / "report.md").write_text("edited by people")
    assert write(an_incident(), tmp_path) == place
    assert (place / "report.md").read_text() == "edited by people"
    assert write(an_incident(sequence=9), tmp_path) != place


def test_a_report_that_was_cut_off_is_no_report_and_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_write", lambda path, text: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(an_incident(), tmp_path)
    monkeypatch.undo()
    assert names(tmp_path) == [".20260921T141320Z-shop-v2-7.draft"]
    write(an_incident(), tmp_path)
    assert names(tmp_path) == ["20260921T141320Z-shop-v2-7"]


def test_the_newest_reports_stay_and_other_files_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    (tmp_path / "notes").mkdir()
    (tmp_path / "20200101T000000Z-mine.txt").write_text("mine")
    for number in range(6):
        write(an_incident(sequence=number, since=1_790_000_000.0 + 60 * number), tmp_path)
    kept = [one for one in names(tmp_path) if "shop" in one]
    assert [one[-1] for one in kept] == ["3", "4", "5"]
    assert {"notes", "20200101T000000Z-mine.txt"} <= set(names(tmp_path))


def test_where_nothing_can_be_written_it_says_where_and_why(tmp_path):
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(ReportError, match=r"reports/2026\S+-shop-v2-7 cannot be written: "):
        write(an_incident(), tmp_path / "reports")


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_route_and_revision_is_a_name_of_one_file(route, revision):
    name = name_of(replace(an_incident().rollout, route=route, revision=revision))
    assert re.fullmatch(r"\d{8}T\d{6}Z-[\w.-]+-\d+", name, re.ASCII)
    assert len(name) < 130


@given(st.text(max_size=60))
def test_what_others_wrote_is_text_and_nothing_else(words):
    reason = f"{words} | <b>x</b> [a](http://b) `c` | {words}"
    incident = an_incident()
    incident = replace(
        incident,
        rollout=replace(incident.rollout, reason=reason, numbers={words: words}),
        timeline=[a_row(reason=reason, actor=words)],
        samples=[{"request_id": words, "at": 0.0, "unit": words, "version": words, "what": words}],
    )
    text = files_of(incident)["report.md"]
    assert not re.search(r"<b>|(?<!\\)\]\(http://b", text)
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")
            cells = len(re.split(r"(?<!\\)\|", line)) - 2
            assert cells in {2, 3, 5, 6}


def test_what_is_not_known_is_said():
    text = files_of(an_incident(recorded="the route does not say `exposure: true`"))["report.md"]
    assert "is not known: the route does not say \\`exposure: true\\`" in text
    assert "None is known by its id" in text
    assert "No numbers: it was not a judge" in text


def test_one_unit_is_one_unit():
    assert "**1 unit was given `canary`**" in files_of(an_incident(affected={"canary": 1}))["report.md"]
    assert "**0 units were given `canary`**" in files_of(an_incident(affected={}))["report.md"]


def test_a_long_timeline_keeps_its_ends():
    rows = [a_row(float(number)) for number in range(TIMELINE + 50)]
    files = files_of(replace(an_incident(), timeline=rows))
    value = json.loads(files["report.json"])
    assert len(value["timeline"]) == TIMELINE
    assert value["timeline"][0]["at"] == 0.0
    assert value["timeline"][-1]["at"] == TIMELINE + 49
    assert "50 transitions in the middle are left out" in files["report.md"]


def test_plots_are_of_what_is_known():
    assert charts(an_incident()) == {}
    track = Track()
    for second in range(0, 100, 10):
        track.note(float(second), 5.0, {"stable": (second * 100, second), "canary": (second * 5, second)})
    found = charts(an_incident(track=track, latency=Latency([0.1, 1.0], {"stable": [5, 4, 1]})))
    assert list(found) == ["errors", "weights", "latency"]
    assert [line.name for line in found["errors"].lines] == ["stable", "canary"]
    assert list(found["latency"].lines[0].points) == [(0.1, 50.0), (1.0, 10.0)]
    for text in files_of(an_incident(track=track)).values():
        if text.startswith("<svg"):
            ET.fromstring(text)


def test_few_requests_make_no_point():
    track = Track()
    for second in range(50):
        track.note(float(second), 5.0, {"canary": (second * 3, second * 3 if second == 20 else second)})
    points = error_percents(track.moments, "canary")
    assert [seconds for seconds, _ in points] == [34.0, 49.0]
    assert all(0 <= percent <= 100 for _, percent in points)


def test_nothing_is_slower_than_nothing():
    assert exceeding([1.0], [0, 0]) == []


def test_secrets_that_are_not_there_are_seen_not_to_be():
    hook = {"url": "http://a", "when": "after_end", "veto": False, "secret": None, "timeout": 5.0, "retries": 0}
    rollout = a_rollout(plan=a_rollout().plan | {"webhooks": [hook]})
    value = json.loads(files_of(Incident(rollout, 0.0, []))["report.json"])
    assert value["plan"]["webhooks"] == [hook]
