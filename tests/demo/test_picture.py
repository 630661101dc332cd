"""The picture is well-formed and shows what was observed."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import pytest

from chancel.demo import picture
from chancel.demo.timeline import Flow, Keys, State, Timeline
from tests.demo.scripted import DEVICES, EXCHANGES_S, LOST, parish

SVG = "{http://www.w3.org/2000/svg}"


def drawn(timeline: Timeline) -> ElementTree.Element:
    return ElementTree.fromstring(picture.draw(timeline))


def of_class(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [element for element in root.iter() if element.get("class") == kind]


def test_events_pings_and_losses_are_all_there() -> None:
    root = drawn(parish())
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "two cathedrals <started> 0.1 s" in texts
    assert "west killed: none is left 29.2 s" in texts
    assert len(of_class(root, "ping")) == 750 - len(LOST)
    assert len(of_class(root, "bad-line")) == len(LOST)


def test_a_lane_shows_who_was_there_and_which_way_things_went() -> None:
    root = drawn(parish())
    legend = 1
    assert len(of_class(root, "alive")) == 3 + legend
    assert len(of_class(root, "relayed")) == len(DEVICES) + legend
    assert len(of_class(root, "direct")) == len(DEVICES) + legend
    widths = {
        kind: float(of_class(root, kind)[0].attrib["width"]) for kind in ("relayed", "direct")
    }
    assert widths["direct"] / widths["relayed"] == pytest.approx((74.9 - 20.3) / 19.1, rel=0.02)
    names = [element.text for element in of_class(root, "ink small")]
    assert names == ["east", "west", "left", "right"]


def test_new_keys_and_new_secrets_are_marked_apart() -> None:
    marks = Counter(element.tag for element in of_class(drawn(parish()), "keys"))
    legend = 1
    assert marks == {
        f"{SVG}circle": len(DEVICES) * len(EXCHANGES_S) + legend,
        f"{SVG}polygon": len(DEVICES) * 2 + legend,
    }


def test_nothing_is_drawn_outside_the_page() -> None:
    root = drawn(parish())
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, "0")) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, "0")) <= height


@pytest.mark.parametrize("lanes", [{}, {"east": [], "left": []}])
def test_a_story_that_ended_early_is_drawn_too(lanes: dict[str, list[object]]) -> None:
    drawn(Timeline(lanes=lanes))  # type: ignore[arg-type]


def test_rates_share_a_flow_among_steps() -> None:
    timeline = Timeline(flows=[Flow(0.5, 2.5, 1_000_000)])
    assert timeline.rates(1.0, 4.0) == pytest.approx([2.0, 4.0, 2.0, 0.0])


def test_what_happened_since_is_found() -> None:
    timeline = parish()
    echo = timeline.answered_since(1.0)
    assert echo is not None
    assert echo.at_s == pytest.approx(4.0)
    flow = timeline.moved_since(8.1)
    assert flow is not None
    assert flow.from_s == pytest.approx(8.25)
    rekey = timeline.rekeyed_since(29.2, "right", Keys.EXCHANGE)
    assert rekey is not None
    assert rekey.at_s == 38.0
    assert timeline.answered_since(80.0) is None
    assert timeline.moved_since(80.0) is None
    assert timeline.rekeyed_since(58.1, "left", Keys.AMBRY) is None


def test_a_lane_changes_only_when_something_does() -> None:
    timeline = Timeline(lanes={"left": []})
    assert timeline.state("left") is State.DEAD
    for at_s, state in ((1.0, State.RELAYED), (2.0, State.RELAYED), (3.0, State.DIRECT)):
        timeline.enter("left", state, at_s)
    assert [change.at_s for change in timeline.lanes["left"]] == [1.0, 3.0]
    assert timeline.state("left") is State.DIRECT
