"""A tunnel's configuration file: what it says, and one error for each thing it can't say."""

from __future__ import annotations

import contextlib
import os
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chancel.daemon.config import ControlSocket, TunnelConfig, load, load_descriptor, parse
from chancel.daemon.config_directives import ALL_PROCESSES
from chancel.daemon.config_types import Mode, ProfileName
from chancel.daemon.offloads import ALL, NONE
from chancel.errors import ConfigError
from chancel.wire.types import NO_FLOCKS, Address

HYMN_FILE = """\
# auto generated, do not edit
instance hymn-01-02
pidfile /var/run/hymn/hymn-01-02.pid
tunnel 10.77.0.1/30 auto
secret {secret}
descr office

local 192.168.201.1:2333
peer 192.168.201.2:2333

route 10.88.0.0/24
accept 10.88.0.0/24
accept 10.99.0.0/24

run heaven-rx as nobody
run heaven-tx as nobody
run purgatory-rx as nobody
run purgatory-tx as nobody

run control as root
control /tmp/hymn-01-02.control root

run bishop as root
run bless as root
run confess as root
run chapel as root
run shrine as root
run pilgrim as root
run cathedral as root
"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(bytes(32))
    path.chmod(0o400)
    return path


@pytest.fixture
def minimal(secret: Path) -> str:
    return f"instance a\nsecret {secret}\ntunnel 10.0.0.1/24 auto\n"


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "t.conf")
    return str(caught.value)


class TestWhatAFileSays:
    def test_a_file_written_by_the_references_tool(self, secret: Path) -> None:
        config = parse(HYMN_FILE.format(secret=secret), "hymn.conf")
        users = {"control", "bishop", "bless", "confess", "chapel", "shrine", "pilgrim"}
        assert config == TunnelConfig(
            file="hymn.conf",
            instance="hymn-01-02",
            descr="office",
            secret=secret,
            spi_prefix=0,
            tunnel=IPv4Interface("10.77.0.1/30"),
            mtu=1422,
            mtu_discovery=True,
            local=Address("192.168.201.1", 2333),
            peer=Address("192.168.201.2", 2333),
            routes=(IPv4Network("10.88.0.0/24"),),
            accepts=(IPv4Network("10.88.0.0/24"), IPv4Network("10.99.0.0/24")),
            run_as=dict.fromkeys(users | {"cathedral"}, "root")
            | dict.fromkeys(["heaven-rx", "heaven-tx", "purgatory-rx", "purgatory-tx"], "nobody"),
            control=ControlSocket(Path("/tmp/hymn-01-02.control"), "root"),
            pidfile=Path("/var/run/hymn/hymn-01-02.pid"),
            flocks=NO_FLOCKS,
            offloads=ALL,
        )
        assert config.lines["peer"] == 9
        assert config.lines["run bless"] == 24

    def test_defaults(self, minimal: str) -> None:
        config = parse(minimal, "t.conf")
        assert config.local == ("0.0.0.0", 0)
        assert (config.peer, config.control, config.pidfile) == (None, None, None)
        assert (config.routes, config.accepts, dict(config.run_as)) == ((), (), {})

    def test_lexical_rules(self, secret: Path) -> None:
        text = (
            "\t  instance\t \ta  \r\n   # a comment\n\n \t\n\r\n"
            f"secret {secret} \n"
            "tunnel 10.0.0.1/24 \t 1400\n"
            "peer 192.0.2.1:5"
        )
        config = parse(text, "t.conf")
        assert (config.instance, config.mtu, config.peer) == ("a", 1400, ("192.0.2.1", 5))
        assert config.mtu_discovery is False

    def test_a_line_is_cut_at_8191_and_its_rest_is_a_line(self, minimal: str) -> None:
        config = parse(minimal + "#" + "x" * 8190 + "descr cut\n", "t.conf")
        assert config.descr == "cut"

    @pytest.mark.parametrize(
        ("text", "prefix"),
        [
            ("0102", 0x0102),
            ("0x0102", 0x0102),
            ("0X1f", 0x1F),
            ("0x12345", 0x2345),
            ("beef rest", 0xBEEF),
            ("12g4", 0x12),
            ("-1", 0xFFFF),
            ("f" * 30, 0xFFFF),
        ],
    )
    def test_hexadecimal_numbers_are_read_as_by_scanf(
        self, minimal: str, text: str, prefix: int
    ) -> None:
        assert parse(f"{minimal}spi {text}\n", "t.conf").spi_prefix == prefix

    @pytest.mark.parametrize("peer", ["auto", "0.0.0.0:0"])
    def test_a_peer_to_be_learnt(self, minimal: str, peer: str) -> None:
        assert parse(f"{minimal}peer {peer}\n", "t.conf").peer is None

    def test_an_empty_port_is_zero(self, minimal: str) -> None:
        assert parse(f"{minimal}local 192.0.2.1:\n", "t.conf").local == ("192.0.2.1", 0)

    def test_host_bits_of_an_accept_are_cleared(self, minimal: str) -> None:
        config = parse(f"{minimal}accept 10.1.2.3/16\n", "t.conf")
        assert config.accepts == (IPv4Network("10.1.0.0/16"),)

    @pytest.mark.parametrize(
        ("lines", "flocks"),
        [
            ("cathedral_flock deadbeefcafebabe", (0xDEADBEEFCAFEBABE, 0xDEADBEEFCAFEBABE)),
            ("cathedral_flock 0x1\ncathedral_flock_dst 2", (1, 2)),
            ("cathedral_flock_dst 2\ncathedral_flock 1", (1, 2)),
            ("cathedral_flock 1\ncathedral_flock_dst 0", (1, 0)),
        ],
    )
    def test_flocks_work_without_a_cathedral(
        self, minimal: str, lines: str, flocks: tuple[int, int]
    ) -> None:
        assert parse(f"{minimal}{lines}\n", "t.conf").flocks == flocks

    def test_values_that_ask_for_nothing_are_accepted(self, minimal: str) -> None:
        text = "mode tunnel\nmode default\ntap no\ntfc off\nshroud no\noffload off\n"
        assert parse(text + minimal, "t.conf").offloads == NONE

    def test_every_process_of_the_reference_may_have_a_user(self, minimal: str) -> None:
        lines = "".join(f"run {process} as root\n" for process in ALL_PROCESSES)
        assert set(parse(minimal + lines, "t.conf").run_as) == set(ALL_PROCESSES)


FAMILIES = [
    # lexical
    ("spi", "t.conf:1: malformed line 'spi' (expected DIRECTIVE VALUE)"),
    ("\n\n  spi \t ", "t.conf:3: no value given for 'spi' (expected DIRECTIVE VALUE)"),
    ("descr a\0b", "t.conf:1: a NUL character (expected a text file)"),
    ("shrod yes", "t.conf:1: unknown directive 'shrod' (expected shroud?)"),
    ("Peer auto", "t.conf:1: unknown directive 'Peer' (expected peer?)"),
    ("xyzzy 1", "t.conf:1: unknown directive 'xyzzy' (expected a directive of a tunnel's file)"),
    # modes and functions of later releases
    ("mode nave", "t.conf:1: mode: 'nave' is unknown (expected tunnel, pilgrim or shrine)"),
    (
        "mode liturgy",
        "t.conf:1: mode: a liturgy has processes of its own"
        " (expected this as the first line, and no other file beside it)",
    ),
    ("tap on", "t.conf:1: tap: 'on' is unknown (expected yes or no)"),
    ("tfc yes", "t.conf:1: tfc: 'yes' is unknown (expected on or off)"),
    ("shroud on", "t.conf:1: shroud: 'on' is unknown (expected yes or no)"),
    ("profile 1", "t.conf:1: profile: '1' is unknown (expected current or 0.9)"),
    ("bridge br/0", "'br/0' is no interface name (expected at most 15 characters)"),
    ("bridge a\nbridge a", "t.conf:2: bridge: already set on line 1 (expected once)"),
    ("offload no", "t.conf:1: offload: 'no' is unknown (expected on or off)"),
    ("offload gso off", "t.conf:1: offload: 'gso' is unknown (expected on or off)"),
    (
        "offload off gso lro",
        "t.conf:1: offload: 'lro' is no offload (expected on or off, then any of checksum, tso,"
        " uso, coalesce, gso, gro)",
    ),
    ("accelerator yes", "t.conf:1: accelerator: 'yes' is unknown (expected on or off)"),
    # names
    (
        "instance a_b",
        "t.conf:1: instance: 'a_b' is no instance name (expected letters, digits and '-')",
    ),
    (
        "instance abcdefghijklmnop",
        "t.conf:1: instance: 'abcdefghijklmnop' is too long (expected at most 15 characters)",
    ),
    ("descr né", "t.conf:1: descr: 'né' is no description (expected letters, digits and '-')"),
    (f"descr {'x' * 32}", "is too long (expected at most 31 characters)"),
    # numbers
    ("spi xyz", "t.conf:1: spi: 'xyz' is no number (expected a 16-bit hexadecimal number)"),
    (
        "cathedral_flock -",
        "t.conf:1: cathedral_flock: '-' is no number (expected a 64-bit hexadecimal number)",
    ),
    # the tunnel
    (
        "tunnel 10.0.0.1/24",
        "t.conf:1: tunnel: '10.0.0.1/24' has no MTU (expected ip/length MTU, or ip/length auto)",
    ),
    (
        "tunnel 10.0.0.1 1400",
        "t.conf:1: tunnel: '10.0.0.1' is missing a netmask (expected ip/length)",
    ),
    ("tunnel 10.0.0.1/33 1400", "t.conf:1: tunnel: '33' is out of range (expected 0 to 32)"),
    ("tunnel 10.0.0.1/256 1400", "t.conf:1: tunnel: '256' is out of range (expected 0 to 32)"),
    ("tunnel 10.0.0/8 1400", "'10.0.0' is no IPv4 address (expected 192.0.2.1)"),
    ("tunnel 10.0.0.1/24 575", "MTU '575' is out of range (expected 576 to 1522, or auto)"),
    ("tunnel6 fd00::1", "t.conf:1: tunnel6: 'fd00::1' is missing a netmask (expected ip/length)"),
    ("tunnel6 10.0.0.1/24", "'10.0.0.1' is no IPv6 address (expected 2001:db8::1)"),
    ("tunnel6 fe80::1%eth0/64", "'fe80::1%eth0' names an interface (expected a global address)"),
    ("tunnel 10.0.0.1/24 big", "MTU 'big' is out of range"),
    # addresses
    (
        "local 192.0.2.1",
        "'192.0.2.1' has no port (expected ip:port, or [ip]:port)",
    ),
    ("local [::]1", "t.conf:1: local: '[::]1' has no port (expected ip:port, or [ip]:port)"),
    ("peer host.example:5", "'host.example' is no IPv4 address (expected 192.0.2.1)"),
    ("peer 1.1.1.1:5 # x", "t.conf:1: peer: '5 # x' is out of range (expected 0 to 65535)"),
    ("peer 1.1.1.1:70000", "t.conf:1: peer: '70000' is out of range (expected 0 to 65535)"),
    ("peer 1.1.1.1:", "t.conf:1: peer: '1.1.1.1:' has port 0 (expected ip:port, or auto)"),
    ("route 10.1.0.1/24", "'10.1.0.1/24' has host bits set (expected 10.1.0.0/24)"),
    (
        "route 10.1.0.0/24\n\nroute 10.1.0.0/24",
        "t.conf:3: route: 10.1.0.0/24 is already routed by line 1 (expected once)",
    ),
    ("route fd00::1/64", "'fd00::1/64' has host bits set (expected fd00::/64)"),
    ("accept 10.1.0.1", "'10.1.0.1' is missing a netmask (expected ip/length)"),
    (
        "\n".join(f"accept fd00:{number:x}::/32" for number in range(513)),
        "t.conf:513: accept: one network too many (expected at most 512)",
    ),
    (
        "\n".join(f"route 10.{number >> 8}.{number & 255}.0/24" for number in range(513)),
        "t.conf:513: route: one network too many (expected at most 512)",
    ),
    # users, files
    ("run bless root", "t.conf:1: run: 'bless root' is invalid (expected PROCESS as USER)"),
    ("run priest as root", "t.conf:1: run: process 'priest' is unknown (expected control, pur"),
    ("run bless as " + "x" * 32, "is too long (expected at most 31 characters)"),
    (
        "run bless as root\nrun bless as root",
        "t.conf:2: run: the user of bless is already set (expected once)",
    ),
    ("control /tmp/x", "t.conf:1: control: '/tmp/x' is invalid (expected PATH OWNER)"),
    ("control /tmp/x no.such.user", "user 'no.such.user' does not exist (expected the name"),
    (f"control /{'x' * 107} root", "the path is too long (expected at most 107 bytes)"),
    ("pidfile a\npidfile b", "t.conf:2: pidfile: already set on line 1 (expected once)"),
    ("secret a\nsecret b", "t.conf:2: secret: already set on line 1 (expected once)"),
    # what is missing after the last line
    ("descr a", "t.conf: instance: missing (expected instance NAME)"),
    ("instance a", "t.conf: secret: missing (expected secret PATH)"),
    ("instance a\nsecret b", "t.conf: tunnel: missing (expected tunnel ip/length MTU)"),
    (
        "instance a\nsecret b\ntunnel 0.0.0.0/0 auto",
        "t.conf:3: tunnel: 0.0.0.0 is no address for a tunnel (expected ip/length MTU)",
    ),
]


@pytest.mark.parametrize(("text", "message"), FAMILIES)
def test_errors_name_line_directive_and_what_was_expected(text: str, message: str) -> None:
    error = error_of(text)
    assert error.startswith("t.conf:")
    assert message in error
    assert "\n" not in error


COMBINATIONS = [
    (
        "tunnel 10.0.0.1/24 622",
        "tunnel: MTU '622' is out of range"
        " (expected 623 to 1422, as a packet costs 78 bytes, or auto)",
    ),
    ("tunnel 10.0.0.1/24 1423", "MTU '1423' is out of range (expected 623 to 1422, as a packet"),
    ("tunnel 10.0.0.1/24 1374\nshroud yes", "(expected 623 to 1373, as a packet costs 127 bytes"),
    (
        "tunnel 10.0.0.1/24 1403\npeer [2001:db8::1]:5",
        "(expected 623 to 1402, as a packet costs 9",
    ),
    ("tunnel 10.0.0.1/24 1279\ntunnel6 fd00::1/64", "(expected 1280 to 1422, as a packet costs 78"),
    ("tunnel 10.0.0.1/24 1501\nprofile 0.9", "MTU '1501' is out of range (expected 576 to 1500)"),
    ("tunnel 10.0.0.1/24 auto\nprofile 0.9", "auto came after 0.9 (expected a number, as of the"),
    ("tunnel 10.0.0.1/24 auto\nmode shrine", "shrine can't find out an MTU (expected a number)"),
    (
        "tunnel 10.0.0.1/24 1400\nmode pilgrim",
        "peer: a pilgrim can't learn it (expected its shrine",
    ),
    (
        "tunnel 10.0.0.1/24 auto\nbridge br0",
        "bridge: makes no sense without a TAP device (expected",
    ),
    ("tunnel 10.0.0.1/24 auto\ntap yes", "tunnel: TAP has no address (expected 0.0.0.0/0 MTU)"),
    ("tap yes\ntunnel6 fd00::1/64", "tunnel6: TAP has no address (expected no such line)"),
    ("tap yes\ntfc on\ntunnel 0.0.0.0/0 1400", "tfc: pads IP packets alone (expected tap no)"),
    ("tunnel 10.0.0.1/24 auto\ntfc on", "tfc: pads to the MTU (expected a number in the tunnel"),
    ("tunnel 10.0.0.1/24 1400\nprofile 0.9\nshroud yes", "shroud: came after 0.9 (expected encaps"),
    ("tunnel 10.0.0.1/24 1400\nencapsulation x", "encapsulation: ended with 0.9 (expected shroud"),
    ("tunnel 10.0.0.1/24 1400\nprofile 0.9\nencapsulation none", "'none': No such file"),
    (
        "tunnel 10.0.0.1/24 auto\nlocal 192.0.2.1:5\npeer [2001:db8::1]:5",
        "can't be reached from local 192.0.2.1:5 (expected an IPv4 address)",
    ),
]


@pytest.mark.parametrize(("text", "message"), COMBINATIONS)
def test_what_lines_say_together(secret: Path, text: str, message: str) -> None:
    error = error_of(f"instance a\nsecret {secret}\n{text}\n")
    assert error.startswith("t.conf:")
    assert message in error


class TestModesAndOptions:
    def test_a_shrine(self, secret: Path) -> None:
        text = f"mode shrine\ninstance a\nsecret {secret}\ntunnel 10.0.0.1/24 1400\n"
        config = parse(text, "t.conf")
        assert (config.mode, config.mtu, config.mtu_discovery) == (Mode.SHRINE, 1400, False)

    @pytest.mark.parametrize("tunnel", ["", "tunnel 0.0.0.0/0 auto\n"])
    def test_tap_on_a_bridge(self, secret: Path, tunnel: str) -> None:
        text = f"instance a\nsecret {secret}\ntap yes\nbridge br0\n{tunnel}"
        config = parse(text, "t.conf")
        assert (config.tunnel, config.bridge, config.mtu) == (None, "br0", 1422)
        assert config.networks == ()

    def test_options_lower_where_auto_starts(self, minimal: str) -> None:
        assert parse(f"{minimal}shroud yes\n", "t.conf").mtu == 1373
        assert parse(f"{minimal}peer [2001:db8::1]:5\n", "t.conf").mtu == 1402
        assert parse(f"{minimal}local [::]:5\nshroud yes\n", "t.conf").mtu == 1353

    def test_local_follows_the_peers_family(self, minimal: str) -> None:
        config = parse(f"{minimal}peer [2001:db8::1]:5\n", "t.conf")
        assert (config.local, config.peer) == (("::", 0), ("2001:db8::1", 5))
        assert parse(f"{minimal}local [::]:5\npeer 192.0.2.1:5\n", "t.conf").local == ("::", 5)

    def test_ipv6_inside(self, minimal: str) -> None:
        text = f"{minimal}tunnel6 fd00::1/64\nroute fd01::/48\naccept fd02::1/48\n"
        config = parse(text, "t.conf")
        assert config.tunnel6 == IPv6Interface("fd00::1/64")
        assert config.networks == (IPv4Network("10.0.0.0/24"), IPv6Network("fd00::/64"))
        assert config.routes == (IPv6Network("fd01::/48"),)
        assert config.accepts == (IPv6Network("fd02::/48"),)

    def test_release_0_9_with_its_own_masking(self, secret: Path) -> None:
        text = f"instance a\nsecret {secret}\ntunnel 10.0.0.1/24 1500\nprofile 0.9\n"
        config = parse(f"{text}encapsulation {secret}\ntfc on\n", "t.conf")
        assert config.profile is ProfileName.LEGACY
        assert (config.encapsulation, config.mtu, config.tfc) == (secret, 1500, True)


FOR_LITURGIES = tuple(f"liturgy_{name}" for name in ("group", "prefix", "discoverable"))
FOR_CATHEDRALS = ("secretdir", "settings", "cathedral_ip", "cathedral_mtu", "cathedral_p2p_sync")


@pytest.mark.parametrize("directive", FOR_LITURGIES)
def test_directives_of_liturgies_are_refused_in_a_tunnel(directive: str) -> None:
    error = error_of(f"# one\n{directive} value\n")
    assert error.startswith(f"t.conf:2: {directive}: is for liturgies (expected a first line")


@pytest.mark.parametrize("directive", FOR_CATHEDRALS)
def test_directives_of_cathedrals_are_refused_in_a_tunnels_file(directive: str) -> None:
    error = error_of(f"# one\n{directive} value\n")
    assert error.startswith(f"t.conf:2: {directive}: is for cathedrals")


class TestTheSecret:
    def test_missing(self, tmp_path: Path) -> None:
        error = error_of(f"instance a\ntunnel 10.0.0.1/24 auto\n\nsecret {tmp_path}/none\n")
        assert error.startswith(f"t.conf:4: secret: '{tmp_path}/none': No such file or directory")

    def test_accessible_by_others(self, secret: Path, minimal: str) -> None:
        secret.chmod(0o440)
        assert f"is accessible by others (expected mode 0600: chmod 600 {secret})" in error_of(
            minimal
        )

    def test_symbolic_link(self, secret: Path, minimal: str) -> None:
        secret.rename(secret.with_name("real"))
        secret.symlink_to("real")
        assert "is a symbolic link (expected the path of the file itself)" in error_of(minimal)

    def test_not_a_file(self, secret: Path, minimal: str) -> None:
        secret.unlink()
        os.mkfifo(secret, 0o600)
        assert "is not a regular file" in error_of(minimal)

    def test_short(self, secret: Path, minimal: str) -> None:
        secret.chmod(0o600)
        secret.write_bytes(bytes(31))
        assert "has 31 bytes (expected at least 32)" in error_of(minimal)

    def test_in_a_directory_where_everyone_can_replace_it(self, secret: Path, minimal: str) -> None:
        secret.parent.chmod(0o777)
        assert f"everyone can replace '{secret}'" in error_of(minimal)

    def test_of_another_user(
        self, secret: Path, minimal: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if secret.stat().st_uid == 0:
            os.chown(secret, 12345, 12345)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert "belongs to user" in error_of(minimal)

    def test_a_path_that_is_none(self) -> None:
        error = error_of("instance a\nsecret \ud800\ntunnel 10.0.0.1/24 auto\n")
        assert error.startswith("t.conf:2: secret: '\\ud800' is no path")


class TestFiles:
    def test_load(self, tmp_path: Path, minimal: str) -> None:
        path = tmp_path / "t.conf"
        path.write_text(minimal)
        assert load(path).file == str(path)

    def test_load_descriptor_leaves_it_open(self, tmp_path: Path, minimal: str) -> None:
        path = tmp_path / "t.conf"
        path.write_text(minimal)
        with path.open() as file:
            assert load_descriptor(file.fileno(), "added.conf").file == "added.conf"
            assert not file.closed
            os.fstat(file.fileno())

    @pytest.mark.parametrize("name", ["none", "directory", "pipe", "huge"])
    def test_what_is_no_configuration_file(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if name == "directory":
            path.mkdir()
        elif name == "pipe":
            os.mkfifo(path)
        elif name == "huge":
            path.write_bytes(b"#" * ((1 << 20) + 1))
        with pytest.raises(ConfigError, match=f"^{path}: "):
            load(path)

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "t.conf"
        path.write_bytes(b"descr \xff\n")
        with pytest.raises(ConfigError, match="udcff' is no description"):
            load(path)


_NAMES = ("mode", "instance", "descr", "secret", "spi", "tunnel", "local", "peer", "route", "run")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.text(),
        st.lists(st.tuples(st.sampled_from(_NAMES), st.text(min_size=1))).map(
            lambda lines: "".join(f"{name} {value}\n" for name, value in lines)
        ),
        st.lists(
            st.tuples(st.sampled_from(_NAMES), st.text("0123456789./:-x as auto", min_size=1))
        ).map(lambda lines: "\n".join(f"{name} {value}" for name, value in lines)),
    )
)
def test_no_text_makes_parse_raise_anything_else(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text, "t.conf")


@given(st.text(), st.sampled_from(_NAMES))
def test_errors_are_one_printable_line(value: str, name: str) -> None:
    error = error_of(f"{name} {value}\nnave x")
    assert error.isprintable()


def test_a_number_of_thousands_of_digits_is_out_of_range() -> None:
    assert "is out of range" in error_of(f"peer 1.1.1.1:{'9' * 8000}")
