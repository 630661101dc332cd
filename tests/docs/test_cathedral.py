"""The page about cathedrals: its files are accepted, its commands make a cathedral that serves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.cathedrald import config
from chancel.cathedrald.config import PROCESSES
from chancel.daemon import config as tunnels
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


def test_its_devices_are_those_of_its_cathedral(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command up to the start of a device, typed in the folders of the page's table."""
    owner, device = tmp_path / "owner", tmp_path / "device"
    place = tmp_path / "hymn"
    owner.mkdir()
    monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(place))
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(tmp_path / "run"))
    keys, first, second = (
        next(block.text for block in blocks("console") if block.page == PAGE and mark in block.text)
        for mark in ("chancel keygen sync", "cafeba00-1-2", "cafeba00-2-1")
    )
    typed(owner, keys)
    (admitted,) = parse(SETTINGS[0], "settings").flocks
    for number, own in ((1, first), (2, first.replace(line_of(first), second.rstrip()))):
        device.mkdir()
        for source, name in table("/etc/hymn"):
            mine = source.replace("kek-0x01", f"kek-0x0{number}")
            shutil.copy(owner / mine, device / name)
        commands, _, started = own.partition("sudo chancel up ")
        assert started == "home\n"
        typed(device, commands.replace("/etc/hymn", str(place)))
        loaded = tunnels.load(next(place.glob("*.conf")))
        assert loaded.cathedral is not None
        (cathedral,) = loaded.cathedral.places
        assert f"local {cathedral}\n" in CONFIGURATION
        assert f"cathedral_nat_port {loaded.cathedral.nat_port}\n" in CONFIGURATION
        assert (loaded.cathedral.identity, number) in {
            (allow.identity, allow.device) for allow in admitted.allows
        }
        shutil.rmtree(device)
        shutil.rmtree(place)


def typed(folder: Path, commands: str) -> None:
    subprocess.run(["sh", "-c", PRELUDE + commands], cwd=folder, check=True, timeout=100)


def line_of(commands: str) -> str:
    return next(line for line in commands.splitlines() if "hymn add" in line)


def table(column: str) -> list[tuple[str, str]]:
    """What the page's table of files has in a column: a file of the owner, and its name there."""
    head, _, *rows = TEXT.partition("| file | for |")[2].partition("\n\n")[0].splitlines()
    at = next(number for number, title in enumerate(head.split("|")) if column in title) + 3
    cells = [row.split("|") for row in rows]
    return [
        (re.findall("`(.+?)`", each[1])[0], name[1])
        for each in cells
        if (name := re.search("`(.+?)`", each[at]))
    ]


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
