"""What people and programs are shown of a cathedral: text, JSON, metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from chancel.cathedrald.guardian import TOPOLOGY
from chancel.cathedrald.metrics import exposition
from chancel.cathedrald.news import MAX_TOLD, CathedralSettings, checked, news
from chancel.cathedrald.records import CathedralRecord
from chancel.cathedrald.settings import BundleState, SettingsFile
from chancel.cathedrald.status import CathedralBook
from chancel.cli import cathedral_view, why_view
from chancel.cli.status_view import render
from chancel.daemon.board import BoardReader, BoardWriter, packed_drops
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.link import MessageLink, make_link
from chancel.daemon.topology import Wiring
from chancel.wire.drop import Drop
from chancel.wire.types import FlockId
from tests.cathedrald.parish import FLOCK, LOCAL, OTHER, SETTINGS, Client, Parish
from tests.cathedrald.running import RunningCathedral
from tests.daemon import wirings
from tests.daemon.network import InNetwork

WALL = 1_800_000_000.0
RECORD = CathedralRecord(
    *(20_022, 3, 5, 1),
    *(120_000, 119_000, 166_600_000),
    *(40, 38, 23_674),
    *(200_000, 250_000_000, 5_000),
    *(190_000, 240_000_000, 4_000),
    101,
)
ABOUT = {
    "descr": "by-the-sea",
    "local": str(LOCAL),
    "nat_local": "127.0.0.1:4501",
    "offloads": {"gso": "on", "gro": "on"},
}


@pytest.fixture
def answer(parish: Parish) -> dict[str, Any]:
    """The status of a cathedral with a bundle, a federation and drops."""
    good = parish.bundle("home.ambry", FLOCK, generation=0xFEED)
    text = SETTINGS.replace("    allow", f"    ambry {good}\n    allow", 1)
    text += f"xflock {FLOCK:x} {OTHER:x} /nowhere/both.ambry\nfederate 192.0.2.9 4500\n"
    parish.settings.write_text(text)
    file = SettingsFile(parish.settings, LOCAL)
    file.look(WALL - 100 * 365 * 86_400)
    wiring = Wiring.make(TOPOLOGY)
    writer = BoardWriter(wiring.boards["cathedral"])
    reader: BoardReader[Any] = BoardReader(wiring.boards["cathedral"], CathedralRecord)
    book = CathedralBook({"cathedral": reader}, started=0.0)
    book.group = {"pid": 7, "sandbox": "on", "landlock": 6, "started_wall": WALL}
    settings = CathedralSettings.of(parish.config("tfc on"), gso=True, gro=True)
    book.add(0, CathedralSettings.from_json(json.loads(json.dumps(settings.to_json()))), ABOUT)
    book.news = checked(json.loads(json.dumps(news(file, WALL - 60))))
    writer.write(0, CathedralRecord(traffic_out=19_000, traffic_octets=26_600_000))
    assert book.ready_at(100.0) == 100.5
    dropped = packed_drops({Drop.SPI_UNKNOWN: 12, Drop.BANDWIDTH: 900}, {Drop.BANDWIDTH: 90.0})
    writer.write(0, RECORD, dropped, 99)
    found = book.status(101.0, own_wakeups=5)
    wirings.close(wiring)
    return dict(json.loads(json.dumps(found)))


def test_numbers(answer: dict[str, Any]) -> None:
    (found,) = answer["cathedrals"]
    assert answer["tunnels"] == []
    assert answer["group"]["wakeups"]["cathedral"]["count"] == 99
    assert answer["group"]["wakeups"]["control"]["count"] == 5
    assert found["tunnels"] == {"local": 20_022, "federated": 3}
    assert found["liturgies"] == {"local": 5, "federated": 1}
    assert found["relayed"]["traffic"] == {
        "packets_in": 120_000,
        "packets_out": 119_000,
        "bytes": 166_600_000,
    }
    assert found["rates"] == {"pps": 100_000.0, "bps": 1.12e9}
    assert found["drops"] == {
        "spi-unknown": {"count": 12, "last_s": None},
        "bandwidth": {"count": 900, "last_s": 11.0},
    }
    assert found["federation"] == ["192.0.2.9:4500"]
    assert found["send_error"] == "ENETUNREACH"
    assert found["settings"] == {
        "taken_wall": WALL - 60,
        "flocks": 2,
        "allows": 3,
        "xflocks": 1,
        "problems": [],
    }
    bad, good = found["bundles"]
    assert (good["generation"], good["problem"]) == ("0000feed", "")
    assert (bad["generation"], bad["expires_wall"]) == (None, None)
    assert "/nowhere/both.ambry: doesn't exist" in bad["problem"]


def drawn(answer: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(render(answer))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_text(answer: dict[str, Any]) -> None:
    text = drawn(answer)
    for line in (
        "nave  cathedral  by-the-sea",
        "127.0.0.1:4500, NAT detection 127.0.0.1:4501, all of one size (TFC)",
        "20022 here, 3 at other cathedrals",
        "1.12 Gbit/s, 100 kpkt/s",
        "119000 of 120000 packets, 167 MB",
        "2 flocks, 3 devices, 1 pairs of flocks",
        "192.0.2.9:4500",
        "00000000cafeba00: generation 0000feed",
        "00000000cafeba00 and 00000000deadbe00: none in force",
        "/nowhere/both.ambry: doesn't exist",
        "the machine refused to send: ENETUNREACH",
        "900 bandwidth, 12 spi-unknown",
        "receiving 40.0 datagrams per call, sending 47.5 datagrams per call",
    ):
        assert line in text, line


def test_a_bundle_that_expires_is_told_of(answer: dict[str, Any]) -> None:
    (found,) = answer["cathedrals"]
    expires = found["bundles"][1]["expires_wall"]
    notes = cathedral_view.notes(found, expires - 86_400.0)
    assert any("expires in 1 d" in note for note in notes), notes
    notes = cathedral_view.notes(found, expires + 7_200.0)
    assert any("expired 2 h" in note for note in notes), notes
    assert not any("expire" in note for note in cathedral_view.notes(found, expires - 8 * 86_400.0))


def test_errors_in_the_settings_come_first(answer: dict[str, Any]) -> None:
    (found,) = answer["cathedrals"]
    found["settings"]["problems"] = ["settings:3: allow: wrong"]
    assert cathedral_view.notes(found, WALL)[:2] == [
        "the settings have errors, so those before them are in force:",
        "settings:3: allow: wrong",
    ]


def test_why(answer: dict[str, Any]) -> None:
    console = Console(file=StringIO(), width=160)
    console.print(why_view.render(answer))
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert "/nowhere/both.ambry: doesn't exist" in text
    (found,) = why_view.as_json(answer | {"silent": []})["cathedrals"]
    assert any("/nowhere/both.ambry: doesn't exist" in note for note in found["notes"])


def test_metrics(answer: dict[str, Any]) -> None:
    families = list(text_string_to_metric_families(exposition(answer).decode()))
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    nave = ("cathedral", "nave")
    assert values["chancel_cathedral_tunnels", nave, ("where", "local")] == 20_022
    assert values["chancel_cathedral_federation", nave] == 1
    assert values["chancel_cathedral_dropped_packets_total", nave, ("reason", "bandwidth")] == 900
    assert values["chancel_cathedral_relayed_bytes_total", nave, ("kind", "traffic")] == 166_600_000
    good, both = ("flocks", "00000000cafeba00"), ("flocks", "00000000cafeba00-00000000deadbe00")
    assert values["chancel_cathedral_bundle_ok", nave, good] == 1
    assert values["chancel_cathedral_bundle_ok", nave, both] == 0


def test_before_there_are_news(answer: dict[str, Any]) -> None:
    (found,) = answer["cathedrals"]
    for name in ("settings", "federation", "bundles", "bundles_total"):
        del found[name]
    assert "nave  cathedral" in drawn(answer)
    assert b"chancel_cathedral_tunnels" in exposition(answer)


@pytest.mark.parametrize(
    "lie",
    [
        {"settings": None},
        {"federation": [7]},
        {"bundles": [{}]},
        {"bundles_total": "many"},
        {"instance": "another"},
    ],
)
def test_news_of_another_form_are_a_lie(parish: Parish, lie: dict[str, Any]) -> None:
    told = news(SettingsFile(parish.settings, LOCAL), None)
    assert checked(told) == told
    with pytest.raises(NeighbourLied):
        checked(told | lie)


def test_the_commands_as_typed(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        path = parish.folder / "nave.conf"
        path.write_text(parish.text())
        environment = os.environ | {"CHANCEL_RUNTIME_DIR": str(parish.folder / "run")}

        def typed(*words: str) -> str:
            command = [sys.executable, "-m", "chancel.cli.main", *words]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        command = [sys.executable, "-m", "chancel.cli.main", "run", "-c", str(path)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        ) as daemon:
            assert daemon.stdout is not None
            while "chancel started" not in (line := daemon.stdout.readline()):
                assert line, "it ended"
            Client(parish, 1, 2).register(Client(parish, 2, 1))
            assert "nave  cathedral" in typed("status")
            assert "2 flocks, 3 devices" in typed("status", "nave")
            (found,) = json.loads(typed("status", "--json"))["cathedrals"]
            assert found["announced"] == str(LOCAL)
            assert "chancel_cathedral_tunnels" in typed("status", "--metrics")
            daemon.terminate()
            assert daemon.wait(60) == 0

    in_network(test)


def test_a_start_with_errors_is_refused_by_line(parish: Parish) -> None:
    path = parish.folder / "nave.conf"
    path.write_text(parish.text())
    parish.settings.write_text("flok\n")
    command = [sys.executable, "-m", "chancel.cli.main", "run", "-c", str(path)]
    command += ["--runtime-dir", str(parish.folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"chancel: {parish.settings}:1: ")
    assert done.stderr.count("\n") == 1
    assert not (parish.folder / "run").exists()


def test_the_longest_news_fit_a_message(parish: Parish) -> None:
    name = "é" * 255
    file = SettingsFile(parish.settings, LOCAL)
    file.problems = tuple(str(n) + name * 9 for n in range(100))
    file._bundles = {
        (FLOCK, FlockId(n)): BundleState(name * 2, (FLOCK, FlockId(n)), None, name * 3, None)
        for n in range(100)
    }
    told = news(file, WALL)
    assert (len(told["bundles"]), told["bundles_total"]) == (MAX_TOLD, 100)
    ours, theirs = make_link()
    ours.setblocking(False)
    MessageLink(ours).send(told)
    received = MessageLink(theirs).receive()
    assert received is not None
    assert checked(received[0]) == told
    ours.close()
    theirs.close()


def test_running(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        running = RunningCathedral(parish.config(), parish.folder)
        found = running.cathedral()
        assert found["settings"]["flocks"] == 2
        assert found["offloads"] == {"gso": "on", "gro": "on"}
        assert running.stop() == 0

    in_network(test)
