"""A group with a cathedral of a name: the guardian looks it up, the keeper calls there."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Interface
from pathlib import Path

from chancel.daemon import guardian, netconf
from chancel.daemon.config_types import Mode
from chancel.wire.cathedral import CATHEDRAL
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S, Running, eventually, text

PORT, NAT_PORT = 2333, 2334


def with_cathedral(tmp: Path, *lines: str) -> str:
    for name, size in (("cs", 32), ("cosk", 64)):
        if not (tmp / name).exists():
            (tmp / name).write_bytes(os.urandom(size))
            (tmp / name).chmod(0o600)
    return text(
        tmp,
        1,
        "spi cafe",
        "cathedral_id 1",
        f"cathedral_secret {tmp}/cs",
        f"cathedral_cosk {tmp}/cosk",
        "cathedral_flock cafeba01",
        f"cathedral_nat_port {NAT_PORT}",
        *lines,
    )


def bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", port))
    made.settimeout(LIMIT_S)
    return made


def test_a_name_is_looked_up_and_called(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        with bound(PORT) as cathedral, bound(NAT_PORT) as second:
            lines = (f"cathedral no-such-name.invalid:{PORT}", f"cathedral localhost:{PORT}")
            makers = guardian.load_duties(Mode.TUNNEL)
            running = Running(tmp, with_cathedral(tmp, *lines), makers=makers)
            said, source = cathedral.recvfrom(2000)
            assert said.startswith(CATHEDRAL.magic)
            assert second.recvfrom(2000)[1] == source == ("127.0.0.1", 7001)
            (seen,) = running.ask({"do": "status"})["tunnels"]
            assert (seen["peer"], seen["path"]) == (f"127.0.0.1:{PORT}", "relay")
            eventually(lambda: "can't be looked up name=no-such-name.invalid" in running.log())
            assert running.stop() == 0

    in_network(test)


def test_without_any_name_it_runs_and_says_so(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        line = f"cathedral no-such-name.invalid:{PORT}"
        makers = guardian.load_duties(Mode.TUNNEL)
        running = Running(tmp, with_cathedral(tmp, line), makers=makers)
        (seen,) = running.ask({"do": "status"})["tunnels"]
        assert (seen["peer"], seen["cathedral"]["address"]) == (None, None)
        eventually(lambda: "can't be looked up" in running.log())
        assert running.stop() == 0
        assert sorted(each.name for each in tmp.iterdir()) == ["cosk", "cs", "output", "secret"]

    in_network(test)


def test_a_tunnel_that_comes_or_goes_is_no_change(in_network: InNetwork, tmp: Path) -> None:
    """Or each that joins would have all others look for their peers anew."""

    def test() -> None:
        makers = guardian.load_duties(Mode.TUNNEL)
        line = f"cathedral 127.0.0.1:{PORT}"
        running = Running(tmp, with_cathedral(tmp, line), makers=makers)
        for _ in range(3):  # each request is served after the news of the one before
            running.add(text(tmp, 2, "route 10.99.0.0/16"))
            running.ask({"do": "remove", "instance": "dm2"})
        assert running.log().count("tunnel removed") == 3
        assert "network changed" not in running.log()
        with netconf.netlink() as ip:
            ip.link("add", ifname="wire", kind="veth", peer={"ifname": "other"})
        netconf.configure("wire", IPv4Interface("192.0.2.1/24"), 1500, [])
        eventually(lambda: "network changed" in running.log())
        assert running.stop() == 0

    in_network(test)


def test_a_change_of_the_network_reaches_the_keeper(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        makers = guardian.load_duties(Mode.TUNNEL)
        line = f"cathedral 127.0.0.1:{PORT}"
        running = Running(tmp, with_cathedral(tmp, line), makers=makers)
        with netconf.netlink() as ip:
            ip.link("add", ifname="wire", kind="veth", peer={"ifname": "other"})
        netconf.configure("wire", IPv4Interface("192.0.2.1/24"), 1500, [])
        eventually(lambda: "network changed" in running.log())
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)
