"""The picture is well-formed and shows what was observed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from chancel.demo import picture
from chancel.demo.timeline import Echo, Event, Flow, Mood, Timeline

SVG = "{http://www.w3.org/2000/svg}"


def crash() -> Timeline:
    return Timeline(
        start=0.0,
        events=[
            Event(0.1, "both daemons <started>", Mood.NOTE),
            Event(2.0, "tunnel up", Mood.GOOD),
            Event(8.0, "b killed", Mood.BAD),
            Event(12.5, "tunnel back", Mood.GOOD),
        ],
        echoes=[Echo(i / 10, None if 80 <= i < 125 else 0.001 + i * 1e-4) for i in range(20, 200)],
        flows=[
            Flow(t / 4, t / 4 + 0.25, 0 if 32 <= t < 52 else 20_000_000 + t * 90_000)
            for t in range(10, 80)
        ],
    )


def test_events_pings_and_losses_are_all_there() -> None:
    root = ElementTree.fromstring(picture.draw(crash()))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "both daemons <started> 0.1 s" in texts
    assert "b killed 8.0 s" in texts
    dots = list(root.iter(f"{SVG}circle"))
    lost = [each for each in root.iter(f"{SVG}line") if each.get("class") == "bad-line"]
    assert (len(dots), len(lost)) == (135, 45)


def test_nothing_is_drawn_outside_the_page() -> None:
    root = ElementTree.fromstring(picture.draw(crash()))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, "0")) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, "0")) <= height


def test_a_story_that_ended_early_is_drawn_too() -> None:
    ElementTree.fromstring(picture.draw(Timeline()))


def test_rates_share_a_flow_among_steps() -> None:
    timeline = Timeline(flows=[Flow(0.5, 2.5, 1_000_000)])
    assert timeline.rates(1.0, 4.0) == pytest.approx([2.0, 4.0, 2.0, 0.0])


def test_what_happened_since_is_found() -> None:
    timeline = crash()
    echo = timeline.answered_since(9.0)
    assert echo is not None
    assert echo.at_s == pytest.approx(12.5)
    flow = timeline.moved_since(8.0)
    assert flow is not None
    assert flow.from_s == pytest.approx(13.0)
    assert timeline.answered_since(30.0) is None
    assert timeline.moved_since(30.0) is None
