"""The plots are well-formed, show everything by name, and stay within their page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from benchmarks.plots import HEIGHT, WIDTH, bars, curves, distributions, ticks

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_bars_are_in_order_and_named() -> None:
    found = texts(bars("Speed", "jobs/s", {"slow & safe": 10.0, "ppnext": 30_000.0}))
    assert found.index("ppnext") < found.index("slow & safe")
    assert {"Speed", "jobs/s", "30 k"} <= set(found)


def test_longer_bars_for_more() -> None:
    page = ElementTree.fromstring(bars("Speed", "jobs/s", {"a": 10.0, "b": 1000.0}))
    widths = [float(bar.attrib["width"]) for bar in page.iter(f"{SVG}rect")][1:]
    assert widths[0] > widths[1]


def test_a_distribution_goes_from_no_job_to_all() -> None:
    values = [float(value) for value in range(10, 111)]
    picture = distributions("One job", "µs", {"ppnext": values, "other": [v * 50 for v in values]})
    lines = list(ElementTree.fromstring(picture).iter(f"{SVG}polyline"))
    assert len(lines) == 2
    heights = [float(point.split(",")[1]) for point in lines[0].attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)
    assert {"ppnext", "other", "% of jobs"} <= set(texts(picture))


def test_an_outlier_stays_on_the_page() -> None:
    values = [1e-6, *(float(value) for value in range(10, 109)), 1e9]
    picture = distributions("One job", "µs", {"ppnext": values})
    points = re.search(r'points="([^"]+)"', picture)
    assert points is not None
    places = [float(point.split(",")[0]) for point in points[1].split()]
    assert all(0 <= place <= WIDTH for place in places)


def test_curves_of_one_point_and_of_many() -> None:
    picture = curves("Cost", "jobs", "µs", {"one": [(10.0, 5.0)], "two": [(1.0, 5.0), (1e6, 5.0)]})
    assert {"one", "two", "jobs", "µs"} <= set(texts(picture))
    places = [float(y) for y in re.findall(r",(\d+\.\d)", picture)]
    assert all(0 <= place <= HEIGHT for place in places)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 1.0, [1.0, 10.0]),
        (3.0, 250.0, [1.0, 10.0, 100.0, 1000.0]),
        (0.02, 0.5, [0.01, 0.1, 1]),
    ],
)
def test_ticks_go_around_the_values(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_logarithmic_scale_has_no_zero(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="no logarithmic scale"):
        ticks(low, high)
