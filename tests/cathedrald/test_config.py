"""A cathedral's configuration: what it says, and one error for each thing it can't say."""

from __future__ import annotations

from pathlib import Path

import pytest

from chancel.cathedrald import config
from chancel.daemon.offloads import NONE, OF_SOCKET, Offload
from chancel.errors import ConfigError
from chancel.wire.types import Address
from tests.cathedrald.parish import LOCAL, Parish


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "t.conf")
    return str(caught.value)


def test_what_a_file_says(parish: Parish) -> None:
    found = parish.config(
        "cathedral_nat_port 4501",
        "cathedral_ip 192.0.2.1:4500",
        "cathedral_mtu 1300",
        "cathedral_p2p_sync yes",
        "shroud yes",
        "tfc on",
        f"pidfile {parish.folder}/pid",
        f"control {parish.folder}/control root",
        "descr by-the-sea",
    )
    assert (found.instance, found.local, found.descr) == ("nave", LOCAL, "by-the-sea")
    assert (found.secret, found.secretdir) == (parish.sync, parish.keys)
    assert found.settings == parish.settings
    assert found.announced == ("192.0.2.1", 4500)
    assert found.nat_local == Address(LOCAL.host, 4501)
    assert (found.mtu, found.p2p_sync, found.shroud, found.tfc) == (1300, True, True, True)
    assert found.control is not None
    assert found.control.path == parish.folder / "control"
    assert found.pidfile == parish.folder / "pid"
    assert set(found.run_as) == {"control", "cathedral", "purgatory-rx"}


def test_defaults(parish: Parish) -> None:
    found = parish.config()
    assert (found.announced, found.nat_local, found.mtu) == (LOCAL, None, 1422)
    assert (found.p2p_sync, found.shroud, found.tfc) == (False, False, False)
    assert found.offloads == OF_SOCKET
    assert parish.config("shroud yes").mtu == 1373
    assert parish.config("offload off").offloads == NONE
    assert parish.config("offload off gro").offloads == Offload.GSO


def test_an_instance_may_be_longer_than_a_device(parish: Parish) -> None:
    text = parish.text().replace("instance nave", f"instance {'x' * 31}")
    assert config.parse(text, "t.conf").instance == "x" * 31
    text = parish.text().replace("instance nave", f"instance {'x' * 32}")
    assert "is too long (expected at most 31 characters)" in error_of(text)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("tap yes", "tap: has no meaning for a cathedral"),
        ("kek /etc/kek", "kek: has no meaning for a cathedral"),
        ("peer 192.0.2.1:1", "peer: has no meaning for a cathedral"),
        ("secretdri x", "secretdri: unknown directive 'secretdri' (expected secretdir?)"),
        ("mode tunnel", "mode: 'tunnel' after mode cathedral (expected one mode)"),
        ("cathedral_mtu 622", "cathedral_mtu: '622' is out of range (expected 623 to 1422)"),
        ("cathedral_mtu 1423", "cathedral_mtu: '1423' is out of range (expected 623 to 1422)"),
        ("cathedral_nat_port 65536", "cathedral_nat_port: '65536' is out of range"),
        ("cathedral_nat_port 4500", "cathedral_nat_port: 4500 is that of local"),
        ("cathedral_ip 0.0.0.0:1", "cathedral_ip: 0.0.0.0:1 can't be told to clients"),
        ("cathedral_ip 192.0.2.1:0", "cathedral_ip: 192.0.2.1:0 can't be told to clients"),
        ("cathedral_ip [2001:db8::1]:1", "cathedral_ip: [2001:db8::1]:1 is no IPv4 address"),
        ("cathedral_p2p_sync on", "cathedral_p2p_sync: 'on' is unknown (expected yes or no)"),
        ("secretdir /", "secretdir: already set on line 5 (expected once)"),
        ("settings /", "settings: already set on line 6 (expected once)"),
        (
            "offload off tso",
            "offload: 'tso' is no offload (expected on or off, then any of gso, gro",
        ),
        ("accelerator no", "accelerator: 'no' is unknown (expected on or off)"),
        ("run nave as root", "run: process 'nave' is unknown"),
        ("tfc", None),
    ],
)
def test_lines_that_are_refused(parish: Parish, line: str, problem: str | None) -> None:
    error = error_of(parish.text(line))
    assert error.startswith(f"t.conf:10: {problem or 'malformed line'}")


def test_a_shroud_takes_room(parish: Parish) -> None:
    error = error_of(parish.text("cathedral_mtu 1400", "shroud yes"))
    assert error.startswith("t.conf:10: cathedral_mtu: 1400 is too large beside shroud")
    assert "(expected at most 1373)" in error


@pytest.mark.parametrize("directive", ["instance", "secret", "secretdir", "settings", "local"])
def test_lines_that_have_to_be_there(parish: Parish, directive: str) -> None:
    lines = [line for line in parish.text().split("\n") if not line.startswith(f"{directive} ")]
    assert error_of("\n".join(lines)).startswith(f"t.conf: {directive}: missing (expected ")


@pytest.mark.parametrize("local", ["0.0.0.0:4500", "127.0.0.1:0", "[::1]:4500"])
def test_local_is_an_address_of_ours(parish: Parish, local: str) -> None:
    text = parish.text().replace(f"local {LOCAL}", f"local {local}")
    assert error_of(text).startswith("t.conf:3: local: ")


class TestFiles:
    def test_the_secret_is_looked_at(self, parish: Parish) -> None:
        parish.sync.chmod(0o644)
        assert error_of(parish.text()).startswith(f"t.conf:4: secret: '{parish.sync}' is access")

    def test_the_directory_of_keys(self, parish: Parish) -> None:
        parish.keys.rename(parish.folder / "elsewhere")
        assert error_of(parish.text()).startswith(f"t.conf:5: secretdir: '{parish.keys}' is no d")

    def test_the_settings(self, parish: Parish) -> None:
        parish.settings.unlink()
        expected = f"t.conf:6: settings: '{parish.settings}' can't be read"
        assert error_of(parish.text()).startswith(expected)


def test_whose_file_it_is(parish: Parish) -> None:
    path = parish.folder / "some.conf"
    for text, is_cathedral in [
        (parish.text(), True),
        ("# a comment\n\n  mode\tcathedral\n", True),
        ("mode tunnel\n", False),
        ("instance a\nmode cathedral\n", False),
        ("", False),
    ]:
        path.write_text(text)
        assert config.is_cathedral(path) == is_cathedral
    with pytest.raises(ConfigError, match="cannot be read"):
        config.is_cathedral(Path("/nonexistent"))
