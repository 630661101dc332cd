"""The page about cathedrals: its files are accepted, its commands make a cathedral that serves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.cathedrald import config
from chancel.cathedrald.config import PROCESSES
from chancel.protocol.cathedral.settings_text import parse
from chancel.wire.drop import Drop
from tests.cathedrald.parish import FLOCK, LOCAL, Client, Keys
from tests.cathedrald.running import RunningCathedral
from tests.daemon.conftest import in_network as in_network  # noqa: PLC0414
from tests.daemon.conftest import tmp as tmp  # noqa: PLC0414
from tests.daemon.network import InNetwork
from tests.docs.markdown import ROOT, blocks

PAGE = ROOT / "docs/cathedral.md"
TEXT = PAGE.read_text()
(CONFIGURATION,) = (block.text for block in blocks("cathedral"))
SETTINGS = [block.text for block in blocks("settings")]
PLACE = "/etc/cathedral"

PRELUDE = f"""
set -e
sudo() {{ "$@"; }}
chancel() {{ {sys.executable} -m chancel.cli.main "$@"; }}
useradd() {{ :; }}
chown() {{ :; }}
"""
"""As a user without rights: who makes these files owns them."""


def in_order(place: str) -> str:
    """The commands of the page up to the one that runs the cathedral, for another place."""
    commands = "".join(block.text for block in blocks("console") if block.page == PAGE)
    return commands.partition("sudo chancel run ")[0].replace(PLACE, place)


def test_from_nothing_to_a_cathedral_that_serves(in_network: InNetwork, tmp: Path) -> None:
    place = tmp / "etc"
    moved = {PLACE: str(place), "198.51.100.7:4500": str(LOCAL), "as cathedral": "as root"}
    for name, text in (("nave.conf", CONFIGURATION), ("settings", SETTINGS[0])):
        pattern = "|".join(map(re.escape, moved))
        (tmp / name).write_text(re.sub(pattern, lambda found: moved[found[0]], text))
    script = PRELUDE + in_order(str(place))
    subprocess.run(["sh", "-c", script], cwd=tmp, check=True, timeout=100)

    def test() -> None:
        parsed = config.load(place / "nave.conf")
        running = RunningCathedral(parsed, tmp)
        (bundle,) = running.cathedral()["bundles"]
        assert bundle["problem"] == ""
        parish = Keys(parsed.secretdir, {FLOCK: (tmp / "home.cosk").read_bytes()})
        Client(parish, 1, 5).register(Client(parish, 5, 1))
        assert running.stop() == 0

    in_network(test)


def test_it_names_a_user_for_each_process() -> None:
    assert re.findall(r"^run (\S+) as", CONFIGURATION, re.MULTILINE) == list(PROCESSES)


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_are_accepted(text: str) -> None:
    assert parse(text, "settings").problems == ()


def test_every_directive_has_its_row() -> None:
    rows = TEXT.partition("| directive | meaning |")[2].partition("\n\n")[0]
    for directive in (*config._OWN, *config._SHARED):
        assert directive == "mode" or re.search(rf"`{directive}\b", rows), directive


def test_reasons_are_those_of_the_code() -> None:
    rows = TEXT.partition("| reason | means |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in rows.splitlines()[2:]]
    named = [reason for cell in cells for reason in re.findall(r"`([a-z-]+)`", cell)]
    assert len(named) > 10
    assert [reason for reason in named if reason not in set(Drop)] == []
