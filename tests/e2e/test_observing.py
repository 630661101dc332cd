"""What people see of a tunnel: its trace while it carries, and its metrics."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.ends import PROGRAM, End, Pair, eventually

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
SECONDS = 3.0
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    pair.configure(0, "1400")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


def chancel(end: End, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """A command that runs beside the group, as its owner."""
    return subprocess.Popen(
        [*PROGRAM, *words, "--runtime-dir", str(end.runtime)],
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def answer(program: subprocess.Popen[str]) -> str:
    out, _ = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 0, out
    return out


def traced(pair: Pair, folder: Path, *words: str) -> list[str]:
    """What a trace of each end says, while pings go to and fro."""
    outputs = [folder / f"{end.host.name}.trace" for end in pair.ends]
    programs = []
    for end, output in zip(pair.ends, outputs, strict=True):
        with output.open("w") as file:
            trace = ("trace", "t0", "--seconds", str(SECONDS), *words)
            programs.append(chancel(end, *trace, stdout=file.fileno()))
    eventually(
        lambda: pair.left.ping(RIGHT, 1) == 1 and all(each.poll() is not None for each in programs),
        LIMIT_S,
        "both traces end",
    )
    texts = [output.read_text() for output in outputs]
    assert [program.returncode for program in programs] == [0, 0], texts
    return texts


def test_a_trace_of_each_end_and_both_in_one_picture(running: Pair, folder: Path) -> None:
    files = []
    for end, text in zip(running.ends, traced(running, folder, "--json"), strict=True):
        lines = [json.loads(line) for line in text.splitlines()]
        ways = {(line["process"], line["to"]) for line in lines if line["event"] == "hop"}
        assert ways >= {
            ("heaven-rx", "bless"),
            ("bless", "purgatory-tx"),
            ("purgatory-tx", "network"),
            ("purgatory-rx", "confess"),
            ("confess", "heaven-tx"),
            ("heaven-tx", "device"),
        }
        assert running.key.hex() not in text
        files.append(folder / f"{end.host.name}.jsonl")
        files[-1].write_text(text)
    picture = folder / "both.svg"
    left, right = map(str, files)
    assert "rows" in answer(
        subprocess.Popen(
            [*PROGRAM, "trace", "--merge", left, right, "-o", str(picture)],
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    root = ET.fromstring(picture.read_text())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("bless") == 2
    assert texts.count("network") == 1


def test_a_trace_as_it_happens(running: Pair, folder: Path) -> None:
    for text in traced(running, folder):
        head, *rows = text.splitlines()
        assert head.split() == [
            *("seconds", "device", "heaven", "bless", "confess", "keeper", "purgatory", "network")
        ]
        assert any("▶" in row and "packet" in row for row in rows)
        assert any("◀" in row and "packet" in row for row in rows)


def test_a_trace_as_a_picture(running: Pair, folder: Path) -> None:
    picture = folder / "left.svg"
    program = chancel(running.left, "trace", "--seconds", str(SECONDS), "-o", str(picture))
    eventually(lambda: running.left.ping(RIGHT, 1) == 1 and program.poll() is not None, 60, "drawn")
    assert answer(program).startswith(f"{picture}: ")
    ET.fromstring(picture.read_text())


def test_metrics_with_and_without_curl(running: Pair) -> None:
    assert running.left.ping(RIGHT, 5, 0.02) == 5
    for end in running.ends:
        text = answer(chancel(end, "status", "--metrics"))
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["chancel_tunnel_up", "t0"] == 1
        assert samples["chancel_peer_path", "configured", "t0"] == 1
        assert samples["chancel_handshakes_total", "t0"] >= 1
        assert samples["chancel_packets_total", "t0", "tx"] >= 5
        assert 0 < samples["chancel_key_expiry_seconds", "t0", "tx"] <= 3600
        assert {key[1] for key in samples if key[0] == "chancel_wakeups_total"} > {"bless"}


def test_status_tells_the_wake_ups_of_an_idle_group(running: Pair) -> None:
    text = answer(chancel(running.left, "status"))
    assert "wake-ups per hour: bless " in text
    assert "hybrid ML-KEM-1024 + X25519, " in text


def test_all_tunnels_on_a_screen_and_on_a_map(running: Pair, folder: Path) -> None:
    assert "1 groups, 1 tunnels: 1 up" in answer(chancel(running.left, "top", "--once"))
    files = []
    for end in running.ends:
        files.append(folder / f"{end.host.name}.json")
        files[-1].write_text(answer(chancel(end, "status", "--json")))
    drawn = folder / "network.svg"
    program = chancel(running.left, "map", "--only", *map(str, files), "-o", str(drawn))
    assert "shows 1 tunnels" in answer(program)
    ET.fromstring(drawn.read_text())
    assert "direct" in answer(chancel(running.left, "map"))
