"""Files of liturgies: what they have to say, and the tunnels that follow from them."""

from __future__ import annotations

import dataclasses
import os
import pwd
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from chancel.daemon import config, config_liturgy
from chancel.daemon.config_liturgy import LiturgyConfig
from chancel.daemon.config_types import LITURGY_PROCESSES, Place
from chancel.daemon.liturgy_tunnels import tunnel_to
from chancel.errors import ConfigError
from chancel.wire.types import Address

IN_USE = Address("203.0.113.9", 4500)


@pytest.fixture
def lines(tmp_path: Path) -> dict[str, str]:
    """A whole file, by directive; ``mode`` comes first."""
    for name, size in (("kek", 32), ("cs", 32), ("cosk", 64)):
        (tmp_path / name).write_bytes(os.urandom(size))
        (tmp_path / name).chmod(0o600)
    return {
        "mode": "liturgy",
        "instance": "cafeba17-liturgy",
        "spi": "0xca",
        "liturgy_prefix": "10.15.0.0",
        "liturgy_group": "0xcafe",
        "liturgy_discoverable": "no",
        "kek": f"{tmp_path}/kek",
        "cathedral_id": "30b4c39",
        "cathedral_flock": "cafeba17",
        "cathedral_flock_dst": "0",
        "cathedral_secret": f"{tmp_path}/cs",
        "cathedral_cosk": f"{tmp_path}/cosk",
        "cathedral_nat_port": "4501",
        "cathedral": "cathedral.example:4500",
    }


def parsed(lines: dict[str, str], tmp_path: Path) -> LiturgyConfig:
    text = "".join(f"{name} {value}\n" for name, value in lines.items())
    return config_liturgy.parse(text, str(tmp_path / "t.conf"))


def test_a_whole_file(lines: dict[str, str], tmp_path: Path) -> None:
    found = parsed(lines, tmp_path)
    assert (found.device, found.group, found.discoverable) == (0xCA, 0xCAFE, False)
    assert (found.prefix, found.secretdir) == (IPv4Address("10.15.0.0"), tmp_path)
    assert [name for name, _, _ in found.asking_files] == ["cathedral_secret", "cathedral_cosk"]
    assert found.run_as == {}


def test_what_may_be_left_out(lines: dict[str, str], tmp_path: Path) -> None:
    for name in ("liturgy_group", "liturgy_discoverable", "cathedral_nat_port"):
        del lines[name]
    found = parsed(lines, tmp_path)
    assert (found.group, found.discoverable, found.cathedral.nat_port) == (0, True, 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cathedral": None}, "cathedral: missing (expected cathedral HOST:PORT, which knows"),
        ({"cathedral_secret": None}, "cathedral_secret: missing"),
        ({"cathedral_cosk": None}, "cathedral_cosk: missing"),
        ({"cathedral_id": None}, "cathedral_id: missing"),
        ({"cathedral_flock": None}, "cathedral_flock: missing"),
        ({"liturgy_prefix": None}, "liturgy_prefix: missing (expected liturgy_prefix x.y.0.0)"),
        ({"kek": None}, "kek: missing (expected kek PATH: the tunnels' secrets come as ambries)"),
        ({"instance": None}, "instance: missing"),
        ({"liturgy_prefix": "10.15.1.0"}, ":4: liturgy_prefix: '10.15.1.0' is no prefix"),
        ({"liturgy_prefix": "10.15"}, ":4: liturgy_prefix: '10.15' is no IPv4 address"),
        ({"liturgy_group": "zz"}, ":5: liturgy_group: 'zz' is no number"),
        ({"liturgy_discoverable": "on"}, ":6: liturgy_discoverable: 'on' is unknown"),
        ({"spi": "0102"}, ":3: spi: 102 is more than a device"),
        ({"spi": "ff"}, ":3: spi: cathedrals can't tell of ff"),
        ({"spi": "0"}, "comes before the tunnel's number"),
        ({"cathedral_flock_dst": "deadbe00"}, ":10: cathedral_flock_dst: a liturgy is within one"),
        ({"bridge": "br0"}, "bridge: makes no sense without a TAP device"),
        ({"secret": "/k"}, "secret: each tunnel has its own"),
        ({"peer": "192.0.2.1:5"}, "peer: has no meaning for a liturgy"),
        ({"route": "10.0.0.0/8"}, "route: has no meaning for a liturgy"),
        ({"tunnel": "10.0.0.1/24 auto"}, "tunnel: has no meaning for a liturgy"),
        ({"local": "[::1]:5"}, "local: [::1]:5 reaches no cathedral"),
        ({"liturgy_grop": "1"}, "unknown directive 'liturgy_grop' (expected liturgy_group?)"),
        ({"secretdir": "/nowhere/at/all"}, "secretdir: '/nowhere/at/all/secret': No such file"),
        ({"kek": "/nowhere"}, ":7: kek: '/nowhere': No such file"),
    ],
)
def test_errors_name_line_directive_and_what_was_expected(
    lines: dict[str, str], tmp_path: Path, changes: dict[str, str | None], expected: str
) -> None:
    for name, value in changes.items():
        if value is None:
            del lines[name]
        else:
            lines[name] = value
    with pytest.raises(ConfigError) as refused:
        parsed(lines, tmp_path)
    assert expected in str(refused.value)
    assert "(expected" in str(refused.value)


def test_the_first_line_tells_it_from_a_tunnel(lines: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "t.conf"
    path.write_text("# one\nmode liturgy\n")
    assert config_liturgy.is_liturgy(path)
    with pytest.raises(ConfigError, match="a liturgy has processes of its own"):
        config.load(path)
    path.write_text("instance a\nmode liturgy\n")
    assert not config_liturgy.is_liturgy(path)


def test_who_reads_the_same_files_is_the_same_user(lines: dict[str, str], tmp_path: Path) -> None:
    text = "".join(f"{name} {value}\n" for name, value in lines.items())
    me = pwd.getpwuid(os.geteuid()).pw_name
    text += f"run liturgy as {me}\nrun chapel as nobody\nrun bless as nobody\nrun bishop as root\n"
    found = config_liturgy.parse(text, str(tmp_path / "t.conf"))
    assert set(found.run_as) == set(LITURGY_PROCESSES)
    assert (found.run_as["chapel"], found.run_as["bless"]) == (me, "nobody")
    assert found.run_as["heaven-rx"] == found.run_as["control"] == me


class TestTunnels:
    """The equivalent configuration of cathedral section 7.4, with its live example."""

    def test_a_tunnel(self, lines: dict[str, str], tmp_path: Path) -> None:
        liturgy = parsed(lines, tmp_path)
        tunnel = tunnel_to(liturgy, 0xFE, IN_USE)
        assert tunnel.instance == "cafeba17-ca-fe"
        assert tunnel.spi_prefix == 0xCAFE
        assert tunnel.tunnel == IPv4Interface("10.15.202.254/32")
        assert tunnel.routes == tunnel.accepts == (IPv4Network("10.15.254.202/32"),)
        assert tunnel.secret == tmp_path / "cafeba17-cafeba17-ca-fe.secret"
        assert (tunnel.mtu, tunnel.mtu_discovery) == (1422, True)
        assert tunnel.flocks == (0xCAFEBA17, 0xCAFEBA17)
        assert (tunnel.local, tunnel.peer) == (Address("0.0.0.0", 0), None)
        assert tunnel.cathedral is not None
        assert tunnel.cathedral.kek == tmp_path / "kek"
        assert (tunnel.cathedral.nat_port, tunnel.cathedral.remembrance) == (4501, None)

    def test_the_other_end_has_it_mirrored(self, lines: dict[str, str], tmp_path: Path) -> None:
        liturgy = parsed(lines, tmp_path)
        here, there = (
            tunnel_to(liturgy, 0xFE, None),
            tunnel_to(dataclasses.replace(liturgy, device=0xFE), 0xCA, None),
        )
        assert here.tunnel is not None
        assert there.tunnel is not None
        assert here.routes == (there.tunnel.network,)
        assert there.routes == (here.tunnel.network,)

    def test_a_long_flock_is_cut_in_the_device_alone(
        self, lines: dict[str, str], tmp_path: Path
    ) -> None:
        lines["cathedral_flock"] = "deadbeefcafebabe"
        tunnel = tunnel_to(parsed(lines, tmp_path), 1, None)
        assert tunnel.instance == "deadbeef-ca-01"
        assert tunnel.secret.name == "deadbeefcafebabe-deadbeefcafebabe-ca-01.secret"

    def test_the_cathedral_that_named_it_comes_first(
        self, lines: dict[str, str], tmp_path: Path
    ) -> None:
        configured = Place("cathedral.example", 4500)
        for in_use, places in (
            (IN_USE, (Place("203.0.113.9", 4500), configured)),
            (None, (configured,)),
        ):
            cathedral = tunnel_to(parsed(lines, tmp_path), 1, in_use).cathedral
            assert cathedral is not None
            assert cathedral.places == places
        lines["cathedral"] = "203.0.113.9:4500"
        cathedral = tunnel_to(parsed(lines, tmp_path), 1, IN_USE).cathedral
        assert cathedral is not None
        assert cathedral.places == (Place("203.0.113.9", 4500),)

    def test_ethernet_has_no_address(self, lines: dict[str, str], tmp_path: Path) -> None:
        lines |= {"tap": "yes", "bridge": "br0", "shroud": "yes"}
        tunnel = tunnel_to(parsed(lines, tmp_path), 1, None)
        assert (tunnel.tunnel, tunnel.routes, tunnel.accepts) == (None, (), ())
        assert (tunnel.tap, tunnel.bridge, tunnel.mtu) == (True, "br0", 1373)
