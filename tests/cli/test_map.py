"""``chancel map``: from the status of machines to lines, words and a picture."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from chancel.cli import map_svg, map_text
from chancel.cli.main import main
from chancel.cli.map_network import Way, chart

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
UP, PENDING = RECORDED["tunnels"]
RELAY = "192.0.2.1:4500"


def tunnel(name: str, sends: int, receives: int, *, relay: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(UP) | {"instance": name, "descr": ""}
    made["tx"]["spi"], made["rx"]["spi"] = f"{sends:08x}", f"{receives:08x}"
    made["path"] = "relay" if relay else "direct"
    made["cathedral"] = {"address": RELAY}
    return made


def answer(*tunnels: dict[str, Any]) -> dict[str, Any]:
    return {"tunnels": list(tunnels), "cathedrals": [], "groups": [], "silent": []}


HOME = answer(tunnel("home-garden", 1, 2), tunnel("home-shed", 5, 6, relay=True), PENDING)
GARDEN = answer(tunnel("garden-home", 2, 1))


def drawn(network: Any) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(map_text.render(network))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_two_ends_of_a_tunnel_are_one_line() -> None:
    network = chart({"home": HOME, "garden": GARDEN})
    assert [(line.left, line.right, line.way, line.via) for line in network.lines] == [
        ("home", "garden", Way.DIRECT, None),
        ("home", "peer of home-shed", Way.RELAY, RELAY),
        ("home", "peer of lab", Way.NONE, None),
    ]
    assert network.lines[0].tunnels == ("home-garden", "garden-home")
    assert network.machines == ("home", "garden")
    assert network.peers == ("peer of home-shed", "peer of lab")
    assert network.cathedrals == (RELAY,)


def test_an_spi_that_is_the_same_by_chance_joins_nothing() -> None:
    network = chart({"home": answer(tunnel("a", 1, 2)), "other": answer(tunnel("b", 9, 1))})
    assert [line.right for line in network.lines] == ["peer of a", "peer of b"]
    alone = chart({"home": answer(tunnel("a", 7, 7))})
    assert [line.right for line in alone.lines] == ["peer of a"]


def test_words() -> None:
    text = drawn(chart({"home": HOME, "garden": GARDEN}))
    assert "garden  direct  home-garden, garden-home" in text
    assert f"peer of home-shed  through {RELAY}" in text
    assert "peer of lab  not up" in text
    assert f"1 direct, 1 relayed, 1 down; cathedrals: {RELAY}" in text
    assert "no tunnel is running" in drawn(chart({"home": answer()}))


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_picture_of_any_size_is_well_formed_and_whole(count: int) -> None:
    tunnels = [tunnel(f"<t&{n}>", 2 * n, 2 * n + 1, relay=n % 2 == 1) for n in range(count)]
    svg = map_svg.draw(chart({"home": answer(*tunnels)}), "tunnels of <home>")
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == count + 1
    for each in circles:
        assert 0 < float(each.attrib["cx"]) < width
        assert 0 < float(each.attrib["cy"]) < height


def test_files_of_other_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, garden = tmp_path / "home.json", tmp_path / "garden.json"
    home.write_text(json.dumps(HOME))
    garden.write_text(json.dumps(GARDEN))
    picture = tmp_path / "network.svg"
    words = ["map", "--only", str(home), str(garden)]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [line["way"] for line in said["lines"]] == ["direct", "relay", "none"]
    assert main([*words, "-o", str(picture)]) == 0
    assert "shows 3 tunnels" in capsys.readouterr().out
    ElementTree.parse(picture)
    assert sorted(tmp_path.iterdir()) == sorted([home, garden, picture])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tunnels": [5]}', '{"tunnels": [{}]}'])
def test_a_file_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    assert main(["map", "--only", str(file)]) == 2
    err = capsys.readouterr().err
    assert "other.json is not what 'chancel status --json' prints" in err
    assert err.count("\n") == 1
    assert main(["map", "--only"]) == 2
