"""Charts are well-formed whatever is in them, stay within their borders, and say what they show."""

import re
from math import inf, nan
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.plots import HEIGHT, POINTS, WIDTH, Chart, Line, Mark, draw, short_time

NUMBER = st.floats(allow_nan=True, allow_infinity=True)
LINES = st.builds(Line, st.text(max_size=20), st.lists(st.tuples(NUMBER, NUMBER), max_size=20), st.booleans())
MARKS = st.builds(Mark, NUMBER, st.text(max_size=20), st.booleans())
FLAG = st.booleans()
TEXT = st.text(max_size=20)


def chart(*lines, **given):
    return Chart(**{"title": "t", "x_name": "x", "y_name": "y", "lines": lines} | given)


def texts(svg):
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@given(
    st.builds(Chart, TEXT, TEXT, TEXT, st.lists(LINES, max_size=9), st.lists(MARKS, max_size=4), FLAG, FLAG, FLAG, FLAG)
)
def test_any_chart_is_well_formed_and_within_its_borders(one):
    svg = draw(one)
    root = ET.fromstring(svg)
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
            if name in element.attrib:
                value = float(element.attrib[name])
                assert -1 <= value <= (WIDTH if "x" in name else HEIGHT) + 1
        for x, y in re.findall(r"[ML]([\d.-]+),([\d.-]+)", element.attrib.get("d", "")):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
    assert "nan" not in svg.replace(one.title, "") or "nan" in f"{one.x_name}{one.y_name}{one.lines}{one.marks}"
    assert len(svg) < 40_000


def test_words_are_escaped():
    svg = draw(chart(Line('<b> & "co"\x00\ud800', [(0, 1), (1, 2)]), title="<script>"))
    assert texts(svg)[0] == "<script>"
    assert '<b> & "co"??' in texts(svg)


def test_axes_have_round_numbers_that_enclose_the_lines():
    svg = draw(chart(Line("a", [(0, 0.3), (1800, 7.1)]), seconds=True))
    words = texts(svg)
    assert [one for one in ("0", "2", "4", "6") if one in words] == ["0", "2", "4", "6"]
    assert [one for one in ("10m", "20m", "30m") if one in words] == ["10m", "20m", "30m"]


def test_logarithmic_axes_have_powers_and_leave_out_what_has_no_logarithm():
    svg = draw(chart(Line("a", [(0, 5), (0.001, 1), (0.1, 0), (10, 100)]), log_x=True, log_y=True))
    words = texts(svg)
    assert {"0.001", "0.01", "0.1", "1", "10", "100"} <= set(words)
    (path,) = re.findall(r'd="([^"]*)" fill="none" stroke="#0072b2"', svg)
    assert path.count("M") == 2  # a gap where the logarithm is missing


def test_a_gap_is_no_line_and_steps_hold_until_the_next():
    lines = [Line("a", [(0, 1), (1, nan), (2, 1), (3, inf), (4, 5), (5, 5)]), Line("b", [(0, 1), (5, 2)], steps=True)]
    paths = re.findall(r'd="([^"]*)" fill="none" stroke="#(?:0072b2|d55e00)"', draw(chart(*lines)))
    assert paths[0].count("M") == 3
    assert paths[0].count("L") == 1
    assert re.fullmatch(r"M[\d.]+,[\d.]+H[\d.]+V[\d.]+", paths[1])


@pytest.mark.parametrize("lines", [[], [Line("a", [])], [Line("a", [(1, nan)])]])
def test_nothing_to_show_is_said(lines):
    assert "no data" in texts(draw(chart(*lines)))


def test_marks_stand_where_they_belong_and_have_a_word():
    svg = draw(chart(Line("a", [(0, 0), (10, 10)]), marks=[Mark(5, "at most"), Mark(10, "aborted", across=False)]))
    root = ET.fromstring(svg)
    across, along = [one.attrib for one in root.iter() if one.attrib.get("stroke") == "#aa0000"]
    assert across["y1"] == across["y2"]
    assert along["x1"] == along["x2"]
    assert {"at most", "aborted"} <= set(texts(svg))


def test_a_mark_beyond_the_lines_widens_the_axis():
    low = draw(chart(Line("a", [(0, 1), (1, 2)])))
    high = draw(chart(Line("a", [(0, 1), (1, 2)]), marks=[Mark(100, "limit")]))
    assert "100" not in texts(low)
    assert "100" in texts(high)


def test_long_lines_are_thinned_and_keep_their_ends():
    svg = draw(chart(Line("a", [(x, x) for x in range(100_000)])))
    (path,) = re.findall(r'd="([^"]*)" fill="none" stroke="#0072b2"', svg)
    assert path.count("L") <= POINTS + 1
    assert path.startswith("M64,256")
    assert path.endswith("L704,56")


def test_the_same_chart_is_the_same_bytes():
    one = chart(Line("a", [(0, 0.1), (1, 0.2)]))
    assert draw(one) == draw(one)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0"),
        (0.5, "0.5s"),
        (59, "59s"),
        (60, "1m"),
        (5400, "1h30m"),
        (3599.9, "1h"),
        (86400 * 2, "2d"),
        (-90, "-1m30s"),
    ],
)
def test_times_in_short(seconds, words):
    assert short_time(seconds) == words
