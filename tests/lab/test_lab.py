"""Real hosts on real kernel networks."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from chancel.lab.lab import Host, Lab, Network
from chancel.lab.namespace import LabError
from chancel.sim.models import LinkModel
from chancel.sim.nat import NAT_TYPES

PING = "chancel.lab.ping:ping"
LEFT, RIGHT = "192.168.201.1", "192.168.201.2"


def pair(lab: Lab, model: LinkModel | None = None) -> tuple[Host, Host, Network]:
    a, b = lab.host("a"), lab.host("b")
    return a, b, lab.connect(a, f"{LEFT}/24", b, f"{RIGHT}/24", model)


def transfer(sender: Host, receiver: Host, address: str, size: int) -> float:
    """Move bytes by TCP, compare digests, return Mbit/s."""
    receiving = receiver.start("chancel.lab.bulk:receive", address, 5201, True)
    next(receiving.progress)
    sent = sender.call("chancel.lab.bulk:send", address, 5201, None, size, True)
    received = receiving.result()
    assert (sent["bytes"], sent["sha256"]) == (received["bytes"], received["sha256"])
    assert sent["bytes"] == size
    return float(size * 8 / received["seconds"] / 1e6)


def test_two_hosts_ping_each_other(lab: Lab) -> None:
    a, b, _ = pair(lab)
    for host, target in ((a, RIGHT), (b, LEFT)):
        result = host.call(PING, target, 5, 0.01)
        assert result["received"] == 5
        assert all(rtt < 0.5 for rtt in result["rtts_s"])


def test_only_packets_that_fit_pass(lab: Lab) -> None:
    a, _, _ = pair(lab)
    assert a.call(PING, RIGHT, 1, 0.0, 1472)["received"] == 1
    assert a.call(PING, RIGHT, 1, 0.0, 1473, True, 0.3)["received"] == 0
    assert a.call(PING, RIGHT, 1, 0.0, 4000, False)["received"] == 1


def test_a_program_runs_inside(lab: Lab) -> None:
    a, _, _ = pair(lab)
    code = "import os, socket; print(socket.gethostname(), os.getuid(), socket.if_nameindex())"
    done = a.run([sys.executable, "-c", code])
    assert done.stdout == "a 0 [(1, 'lo'), (2, 'eth0')]\n"
    assert a.run(["sh", "-c", "echo oops >&2; exit 3"]).returncode == 3
    missing = a.run(["/nonexistent/program"])
    assert (missing.returncode, missing.stderr) == (
        127,
        "chancel: /nonexistent/program: No such file or directory\n",
    )


def test_a_function_that_fails_says_so(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    host = lab.host("a")
    with pytest.raises(LabError, match=r"ipaddress:ip_network failed in the lab"):
        host.call("ipaddress:ip_network", "nonsense")
    assert "ValueError" in capfd.readouterr().err


def test_programs_start_from_any_thread(lab: Lab) -> None:
    a, _, _ = pair(lab)
    received: list[int] = []
    threads = [
        threading.Thread(target=lambda: received.append(a.call(PING, RIGHT, 2, 0.01)["received"]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert received == [2, 2, 2]


def test_loss_is_about_as_asked(lab: Lab) -> None:
    a, _, _ = pair(lab, LinkModel(loss=0.2))
    result = a.call(PING, RIGHT, 300, 0.003)
    assert 0.52 < result["received"] / 300 < 0.76  # 0.8 squared, and four standard deviations


def test_latency_adds_up_both_ways(lab: Lab) -> None:
    a, _, _ = pair(lab, LinkModel(latency_s=0.02))
    rtts = a.call(PING, RIGHT, 5, 0.01)["rtts_s"]
    assert min(rtts) >= 0.04


def test_duplicates_and_damage_reach_programs(lab: Lab) -> None:
    a, b, network = pair(lab, LinkModel(duplicate=0.5))
    assert a.call(PING, RIGHT, 20, 0.01)["duplicates"] > 0
    network.set_model(LinkModel(corrupt=1.0))
    receiving = b.start("chancel.lab.blast:receive", RIGHT, 5202, 1.0)
    next(receiving.progress)
    a.call("chancel.lab.blast:send", RIGHT, 5202, 100, 8, 2000.0)
    assert receiving.result()["highest"] > 100  # numbers that nobody sent
    assert lab.counts()["corrupted"] >= 100


def test_a_cable_is_cut_and_mended(lab: Lab) -> None:
    a, _, network = pair(lab)
    network.set_model(LinkModel(loss=1.0))
    assert a.call(PING, RIGHT, 3, 0.01, 56, True, 0.2)["received"] == 0
    network.set_model(LinkModel())
    assert a.call(PING, RIGHT, 3, 0.01)["received"] == 3


def test_bulk_data_arrives_whole_and_in_trains(lab: Lab) -> None:
    a, b, _ = pair(lab)
    size = 64 << 20
    assert transfer(a, b, RIGHT, size) > 20
    assert lab.counts()["carried"] < size / 1460 / 2  # fewer frames than packets


def test_a_model_sees_each_packet_of_bulk_data(lab: Lab) -> None:
    a, b, _ = pair(lab, LinkModel(latency_s=0.001))
    size = 4 << 20
    transfer(a, b, RIGHT, size)
    assert lab.counts()["carried"] > size / 1460


def test_a_rate_is_kept(lab: Lab) -> None:
    a, b, _ = pair(lab, LinkModel(rate_bytes_s=2.5e6))
    assert 8 < transfer(a, b, RIGHT, 2 << 20) < 21  # Mbit/s, of 20


def test_udp_is_counted_by_number(lab: Lab) -> None:
    a, b, _ = pair(lab, LinkModel(loss=0.1, reorder=0.1))
    receiving = b.start("chancel.lab.blast:receive", RIGHT)
    next(receiving.progress)
    sent = a.call("chancel.lab.blast:send", RIGHT, 5202, 1000, 200, 5000.0)
    received = receiving.result()
    assert (sent["packets"], sent["refused"]) == (1000, 0)
    assert 850 < received["packets"] < 950
    assert received["reordered"] > 10


def behind_nat(lab: Lab, kind: str) -> tuple[Host, Host]:
    """A host at home, and one on the network that its router is on."""
    home, net = lab.network("10.0.0.0/24"), lab.network("203.0.113.0/24")
    inner, outer = lab.host("inner"), lab.host("outer")
    home.join(inner, "10.0.0.2")
    net.join(outer, "203.0.113.9")
    lab.router((home, "10.0.0.1"), (net, "203.0.113.1"), NAT_TYPES[kind])
    return inner, outer


@pytest.mark.parametrize("kind", ["full-cone", "symmetric"])
def test_a_nat_carries_ping_tcp_and_udp_outward(lab: Lab, kind: str) -> None:
    inner, outer = behind_nat(lab, kind)
    assert inner.call(PING, "203.0.113.9", 3, 0.01)["received"] == 3
    assert transfer(inner, outer, "203.0.113.9", 16 << 20) > 10
    receiving = outer.start("chancel.lab.blast:receive", "203.0.113.9")
    next(receiving.progress)
    inner.call("chancel.lab.blast:send", "203.0.113.9", 5202, 100, 1300, 2000.0)
    assert receiving.result()["packets"] == 100
    assert outer.call(PING, "203.0.113.1", 2, 0.01, 56, True, 0.2)["received"] == 0


def test_a_wire_of_the_kernel(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.veth(a, "10.0.0.1/24", b, "10.0.0.2/24")
    assert b.call(PING, "10.0.0.1", 3, 0.01)["received"] == 3
    assert transfer(a, b, "10.0.0.2", 64 << 20) > 20
    assert lab.counts() == {"overruns": 0}


def test_mistakes_are_explained(lab: Lab) -> None:
    a = lab.host("a")
    with pytest.raises(LabError, match="already has a host called a"):
        lab.host("a")
    with pytest.raises(LabError, match=r"10\.0\.0\.1 is not in the network 192\.0\.2\.0/24"):
        lab.network("192.0.2.0/24").join(a, "10.0.0.1/24")


def test_leaving_kills_what_still_runs() -> None:
    with Lab() as lab:
        a, _, _ = pair(lab)
        program = a.popen(["sh", "-c", "sleep 600 & sleep 600"])
        time.sleep(0.3)
    assert program.returncode is not None
    with pytest.raises(LabError, match="keeper process is gone"):
        lab.host("late")
    lab.close()


def test_descriptors_are_given_back() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with Lab() as lab:
        pair(lab)
    before = count()
    with Lab() as lab:
        pair(lab)[0].run(["true"])
    assert count() == before
