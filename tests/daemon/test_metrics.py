"""Metrics: what a scraper reads, and how little of HTTP it takes to get it."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chancel.daemon import metrics_client
from chancel.daemon.metrics import exposition
from chancel.daemon.offloads import Offload
from chancel.errors import LinkClosed
from chancel.wire.drop import Drop
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S, Running, text
from tests.daemon.test_guardian import MAKERS

RECORDED = json.loads((Path(__file__).parents[1] / "cli" / "recorded.json").read_text())

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(exposed: str) -> Samples:
    """Each sample, as the scraper's own library reads it; none comes twice."""
    samples: Samples = {}
    for family in text_string_to_metric_families(exposed):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"chancel_{name}", frozenset(labels.items())))


def test_a_status_answer_as_metrics() -> None:
    seen = parsed(exposition(RECORDED).decode())
    office = {"tunnel": "office"}
    assert value(seen, "tunnel_up", **office) == 1
    assert value(seen, "tunnel_up", tunnel="lab") == 0
    assert value(seen, "peer_path", **office, path="learned") == 1
    assert value(seen, "peer_path", **office, path="relay") == 0
    assert value(seen, "peer_path", tunnel="lab", path="unknown") == 1
    assert value(seen, "handshake_age_seconds", **office) == 41.2
    assert value(seen, "handshakes_total", **office) == 3
    assert value(seen, "handshake_trying_seconds", tunnel="lab") == 12
    assert value(seen, "key_expiry_seconds", **office, direction="tx") == 3558.8
    assert value(seen, "key_age_seconds", **office, direction="rx") == 41.6
    assert value(seen, "bytes_total", **office, direction="tx") == 7_000_000
    assert value(seen, "datagrams_total", **office, direction="rx") == 4200
    assert value(seen, "batches_total", **office, process="purgatory-tx") == 400
    assert value(seen, "batch_packets_mean", **office, process="purgatory-tx") == 12.75
    dropped = value(seen, "dropped_packets_total", **office, process="confess", reason="bad-tag")
    assert dropped == 12
    assert value(seen, "wakeups_total", process="bless") == 480
    assert value(seen, "clock_skew_seconds", tunnel="lab") == 43.2
    assert value(seen, "mtu_bytes", **office) == 1422
    assert value(seen, "offload", **office, offload="tso4") == 1
    assert value(seen, "offload", **office, offload="gso") == 0
    assert value(seen, "accelerated") == 1


def test_what_is_not_known_is_not_told() -> None:
    seen = parsed(exposition(RECORDED).decode())
    assert value(seen, "handshake_age_seconds", tunnel="lab") is None
    assert value(seen, "key_age_seconds", tunnel="lab", direction="tx") is None
    assert value(seen, "last_authentic_packet_age_seconds", tunnel="lab") is None


def test_labels_are_bounded() -> None:
    """A label is one of our own words or a tunnel's name, never what a stranger chose."""
    own = {
        "direction": {"tx", "rx"},
        "path": {"configured", "learned", "direct", "relay", "unknown"},
        "reason": {str(reason) for reason in Drop},
        "process": {"bless", "confess", "control", "purgatory-rx", "purgatory-tx", "heaven-tx"},
        "tunnel": {"office", "lab"},
        "offload": {each.name.lower() for each in Offload if each.name},
    }
    for name, labels in parsed(exposition(RECORDED).decode()):
        if name != "chancel_build_info":
            assert all(text in own[label] for label, text in labels), name


def test_names_are_escaped() -> None:
    odd = RECORDED | {"tunnels": [RECORDED["tunnels"][0] | {"instance": 'a"b\\c\nd'}]}
    assert value(parsed(exposition(odd).decode()), "tunnel_up", tunnel='a"b\\c\nd') == 1


def ask(path: Path, request: bytes) -> bytes:
    """The answer to a whole conversation."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LIMIT_S)
        stream.connect(str(path))
        stream.sendall(request)
        answer = b""
        while part := stream.recv(65536):
            answer += part
    return answer


def test_a_group_is_scraped(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), text(tmp, 2), makers=MAKERS)
        path = tmp / "dm1.metrics"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        group: dict[str, Any] = running.ask({"do": "status"})["group"]
        assert group["metrics"] == str(path)
        seen = parsed(metrics_client.read(path))
        assert value(seen, "tunnel_up", tunnel="dm1") == value(seen, "tunnel_up", tunnel="dm2") == 0
        assert value(seen, "mtu_bytes", tunnel="dm2") == 1400
        assert (value(seen, "wakeups_total", process="control") or 0) > 0
        running.ask({"do": "remove", "instance": "dm1"})
        seen = parsed(metrics_client.read(path))  # the path stays with the group
        assert value(seen, "tunnel_up", tunnel="dm1") is None
        assert value(seen, "tunnel_up", tunnel="dm2") == 0
        assert running.stop() == 0
        assert not path.exists()

    in_network(test)


def test_a_name_that_another_group_took_since(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        first = Running(tmp, text(tmp, 1), text(tmp, 2), makers=MAKERS)
        first.ask({"do": "remove", "instance": "dm1"})
        (tmp / "output").rename(tmp / "first")
        second = Running(tmp, text(tmp, 1), makers=MAKERS)
        path = tmp / f"dm1.{second.pid}.metrics"
        assert value(parsed(metrics_client.read(path)), "tunnel_up", tunnel="dm1") == 0
        seen = parsed(metrics_client.read(tmp / "dm1.metrics"))
        assert value(seen, "tunnel_up", tunnel="dm2") == 0
        assert (second.stop(), first.stop()) == (0, 0)

    in_network(test)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics?name=x HTTP/1.0\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"\x00\xff\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\n" + b"x" * (8192 - 16), b"431 Request Header Fields Too Large"),
    ],
)
def test_what_is_no_scrape(
    in_network: InNetwork, tmp: Path, request_: bytes, status: bytes
) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        answer = ask(tmp / "dm1.metrics", request_)
        assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in head
        assert running.stop() == 0

    in_network(test)


def test_no_metrics_where_nobody_is(tmp_path: Path) -> None:
    with pytest.raises(LinkClosed, match="no metrics"):
        metrics_client.read(tmp_path / "none.metrics")
