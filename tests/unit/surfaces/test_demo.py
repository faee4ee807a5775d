"""The demo's pieces without its processes: its file, what it reads from /metrics, what it shows, what its users notice."""

import random
from pathlib import Path

import pytest
from rich.console import Console

from proxy.settings.loader import load
from proxy.surfaces.demo.measures import Arm, Measures, read_measures
from proxy.surfaces.demo.screen import Moment, line, picture
from proxy.surfaces.demo.story import CHAPTERS, Stage, configuration
from proxy.surfaces.demo.traffic import Traffic

PAGE = """\
# TYPE tidegate_config_generation gauge
tidegate_config_generation 3
# TYPE tidegate_weight_percent gauge
tidegate_weight_percent{route="demo",version="canary",source="file"} 5
tidegate_weight_percent{route="demo",version="canary",source="effective"} 25
# TYPE tidegate_requests_total counter
tidegate_requests_total{route="demo",version="canary",served="canary",code="200"} 90
tidegate_requests_total{route="demo",version="canary",served="stable",code="200"} 10
tidegate_requests_total{route="other",version="canary",served="canary",code="200"} 7
# TYPE tidegate_errors_total counter
tidegate_errors_total{route="demo",version="canary",flag="5xx"} 2
# TYPE tidegate_mirror_total counter
tidegate_mirror_total{route="demo",upstream="shadow",outcome="sent"} 11
tidegate_mirror_total{route="demo",upstream="shadow",outcome="dropped_buffer"} 1
# TYPE tidegate_request_duration_seconds histogram
tidegate_request_duration_seconds_bucket{route="demo",version="canary",le="0.005"} 50
tidegate_request_duration_seconds_bucket{route="demo",version="canary",le="0.01"} 100
tidegate_request_duration_seconds_bucket{route="demo",version="canary",le="+Inf"} 100
tidegate_request_duration_seconds_count{route="demo",version="canary"} 100
tidegate_request_duration_seconds_sum{route="demo",version="canary"} 0.5
"""


def _moment(measures: Measures) -> Moment:
    return Moment(measures, {"canary": 60.0}, "A chapter.", 400, 3, 0, 0, 8080, 9901, "t.yaml")


def test_only_the_route_of_the_demo_is_read() -> None:
    found = read_measures(PAGE, "demo")
    arm = found.arms["canary"]
    assert (arm.weight, arm.requests, arm.errors, found.generation) == (25, 100, 2, 3)
    assert found.copies == {"sent": 11, "dropped_buffer": 1}


def test_a_page_that_is_not_metrics_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"could not convert|invalid"):
        read_measures("tidegate_config_generation what\n", "demo")


def test_quantiles_are_interpolated_within_their_bucket() -> None:
    arm = read_measures(PAGE, "demo").arms["canary"]
    assert arm.quantile(0.5) == pytest.approx(0.005)
    assert arm.quantile(0.75) == pytest.approx(0.0075)
    assert Arm().quantile(0.5) is None


def test_a_quantile_beyond_the_last_edge_is_that_edge() -> None:
    assert Arm(edges=[(1.0, 0.0), (float("inf"), 5.0)]).quantile(0.5) == 1.0


def test_share_is_that_since_the_weights_were_changed() -> None:
    measures = read_measures(PAGE, "demo")
    measures.arms["stable"] = Arm(weight=75, requests=120)
    moment = Moment(measures, {"canary": 60.0, "stable": 0.0}, "", 0, 0, 0, 0, 1, 2, "")
    assert "canary weight 25 % requests 100 share 25.0%" in line(moment)


def test_the_picture_shows_what_there_is(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        Console(file=out, width=112).print(picture(_moment(read_measures(PAGE, "demo"))))
    text = (tmp_path / "out").read_text()
    assert "11 requests copied to the shadow, 1 dropped" in text
    assert "curl http://127.0.0.1:9901/metrics" in text


@pytest.mark.parametrize("weight", [weight for weight, _ in CHAPTERS])
def test_every_chapter_of_the_story_is_a_configuration_without_errors(weight: float, tmp_path: Path) -> None:
    stage = Stage(8080, 9901, (9001, 9002, 9003), tmp_path / "tidegate.yaml", tmp_path / "log")
    stage.file.write_text(configuration(stage, weight))
    [route] = load(stage.file, {}).spec["routes"]
    assert {one["name"]: one["weight"] for one in route["versions"]} == {"stable": 100 - weight, "canary": weight}


def test_moves_between_versions_are_noticed_and_counted_by_chapter() -> None:
    traffic = Traffic(1, random.Random(1))
    for user, version in (("a", "stable"), ("a", "stable"), ("a", "canary"), ("b", "canary"), ("b", "stable")):
        traffic.notice(user, version)
    assert (traffic.entered, traffic.left) == (1, 1)
    traffic.begin_chapter()
    assert (traffic.entered, traffic.left, len(traffic.served)) == (0, 0, 2)
