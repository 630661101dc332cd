"""A tunnel's file with cathedrals: order, what has to be there, who can read and write what."""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path

import pytest

from chancel.daemon import sandbox
from chancel.daemon.config import check_group, parse
from chancel.daemon.config_cathedral import MAX_CATHEDRALS
from chancel.daemon.config_secret import check_replaceable, check_secret
from chancel.daemon.config_types import CathedralConfig, Place
from chancel.daemon.config_values import Refused
from chancel.errors import ConfigError
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId, Flocks

SIZES = {"secret": 32, "cs": 32, "cosk": 64, "kek": 32}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        path.chmod(0o600)
    return tmp_path


class Lines:
    """The lines of a file that is right; some of them may be others, or gone (``None``)."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *more: str, **others: str | None) -> str:
        lines = {
            "instance": "a",
            "tunnel": "10.0.0.1/24 auto",
            "secret": f"{self.home}/secret",
            "spi": "cafe",
            "cathedral": "192.0.2.9:2333",
            "cathedral_id": "badf00d",
            "cathedral_secret": f"{self.home}/cs",
            "cathedral_cosk": f"{self.home}/cosk",
            "cathedral_flock": "cafeba0001",
        } | others
        text = [f"{name} {value}" for name, value in lines.items() if value is not None]
        return "\n".join([*text, *more]) + "\n"


@pytest.fixture
def lines(home: Path) -> Lines:
    return Lines(home)


def client(text: str) -> CathedralConfig:
    config = parse(text, "t.conf")
    assert config.cathedral is not None
    return config.cathedral


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "t.conf")
    error = str(caught.value)
    assert "\n" not in error
    return error


def test_what_a_file_says(home: Path, lines: Lines) -> None:
    config = parse(lines(), "t.conf")
    assert config.cathedral == CathedralConfig(
        places=(Place("192.0.2.9", 2333),),
        identity=CathedralId(0xBADF00D),
        secret=home / "cs",
        cosk=home / "cosk",
    )
    assert config.flocks == Flocks(FlockId(0xCAFEBA0001), FlockId(0xCAFEBA0001))
    assert (config.peer, config.spi_prefix) == (None, 0xCAFE)
    assert config.written_files == ()


def test_all_of_it(home: Path, lines: Lines) -> None:
    text = lines(
        "cathedral second.example:domain",
        "cathedral third.example.:65535",
        "cathedral_flock_dst beef0001",
        "cathedral_nat_port 2334",
        f"cathedral_remembrance {home}/remembered",
        f"kek {home}/kek",
    )
    config = parse(text, "t.conf")
    found = config.cathedral
    assert found is not None
    assert found.places[1:] == (Place("second.example", 53), Place("third.example.", 65535))
    assert [place.address for place in found.places] == [Address("192.0.2.9", 2333), None, None]
    assert (found.nat_port, found.kek) == (2334, home / "kek")
    assert config.flocks.peer == 0xBEEF0001
    assert config.written_files == (
        ("secret", home / "secret"),
        ("cathedral_remembrance", home / "remembered"),
    )
    assert [name for name, _path, _size in config.key_files] == [
        "secret",
        "cathedral_secret",
        "cathedral_cosk",
        "kek",
    ]


@pytest.mark.parametrize(
    ("peer", "address", "fixed"),
    [
        (None, None, False),
        ("auto", None, False),
        ("0.0.0.0:0", None, True),
        ("192.0.2.2:5", Address("192.0.2.2", 5), True),
    ],
)
def test_an_address_of_the_peer_is_never_moved_by_a_cathedral(
    lines: Lines, peer: str | None, address: Address | None, fixed: bool
) -> None:
    config = parse(lines(peer=peer), "t.conf")
    assert config.cathedral is not None
    assert (config.peer, config.cathedral.peer_fixed) == (address, fixed)


SPI = "comes before the tunnel's number (expected spi HEX on a line above)"


@pytest.mark.parametrize(
    ("others", "more", "message"),
    [
        # the order of the lines
        ({"spi": None}, (), f"t.conf:4: cathedral: {SPI}"),
        ({"spi": "0"}, (), f"t.conf:5: cathedral: {SPI}"),
        ({"spi": None, "cathedral": None}, (), f"t.conf:4: cathedral_id: {SPI}"),
        (
            {"spi": None, "cathedral": None, "cathedral_id": None},
            (),
            f"t.conf:4: cathedral_secret: {SPI}",
        ),
        (
            {"spi": None, "cathedral": None, "cathedral_id": None, "cathedral_secret": None},
            (),
            f"t.conf:4: cathedral_cosk: {SPI}",
        ),
        # what is missing, in this order
        (
            {"cathedral_secret": None, "cathedral_cosk": None},
            (),
            "t.conf: cathedral_secret: missing (expected cathedral_secret with a cathedral)",
        ),
        ({"cathedral_cosk": None, "cathedral_id": None}, (), "t.conf: cathedral_cosk: missing"),
        ({"cathedral_id": None, "cathedral_flock": None}, (), "t.conf: cathedral_id: missing"),
        ({"cathedral_flock": None}, (), "t.conf: cathedral_flock: missing"),
        ({"cathedral_flock": "0"}, (), "t.conf: cathedral_flock: missing"),
        # values
        ({"cathedral_id": "0"}, (), "cathedral_id: 0 is nobody's (expected a 32-bit hexadec"),
        ({"cathedral": "192.0.2.9"}, (), "'192.0.2.9' is incomplete (expected HOST:PORT)"),
        ({"cathedral": "192.0.2.9:"}, (), "'192.0.2.9:' is incomplete (expected HOST:PORT)"),
        ({"cathedral": ":2333"}, (), "':2333' is incomplete (expected HOST:PORT)"),
        ({"cathedral": "192.0.2.9:0"}, (), "'0' is out of range (expected 1 to 65535)"),
        ({"cathedral": "a.example:65536"}, (), "'65536' is out of range (expected 1 to 65535)"),
        ({"cathedral": "a.example:nothing"}, (), "port 'nothing' is unknown (expected 1 to 65535"),
        ({"cathedral": "192.0.2:2333"}, (), "'192.0.2' is no IPv4 address (expected 192.0.2.1)"),
        ({"cathedral": "0.0.0.0:2333"}, (), "'0.0.0.0' is no machine's address (expected one, or"),
        ({"cathedral": "224.0.0.1:2333"}, (), "'224.0.0.1' is no machine's address"),
        ({"cathedral": "255.255.255.255:9"}, (), "'255.255.255.255' is no machine's address"),
        ({"cathedral": "-a.example:2333"}, (), "'-a.example' is no name (expected that of a host"),
        ({"cathedral": "a..example:2333"}, (), "'a..example' is no name"),
        ({"cathedral": f"{'a.' * 127}a:2333"}, (), "is no name"),
        (
            {},
            ("cathedral 192.0.2.9:2333",),
            "t.conf:10: cathedral: 192.0.2.9:2333 is named by line 5 already (expected another",
        ),
        (
            {},
            [f"cathedral 192.0.2.10:{n}" for n in range(1, MAX_CATHEDRALS + 1)],
            "one cathedral too many (expected at most 32)",
        ),
        ({}, ("cathedral_nat_port 65536",), "'65536' is out of range (expected 0 to 65535)"),
        ({}, ("cathedral_cosk x",), "cathedral_cosk: already set on line 8 (expected once)"),
        ({}, ("cathedral_secret x",), "cathedral_secret: already set on line 7 (expected once)"),
        # together with other lines
        ({"cathedral": None}, ("kek x",), "t.conf:9: kek: nobody brings ambries (expected cathed"),
        ({}, ("mode shrine",), "cathedral: a shrine has none (expected mode tunnel)"),
        ({"tunnel": "10.0.0.1/24 1400"}, ("profile 0.9",), "cathedral: is not for 0.9"),
        (
            {"tunnel": "10.0.0.1/24 1280"},
            ("local [2001:db8::1]:5",),
            "cathedral: can't be reached from local [2001:db8::1]:5 (expected an IPv4 address, or",
        ),
    ],
)
def test_one_error_for_each_thing_that_is_wrong(
    lines: Lines, others: dict[str, str | None], more: tuple[str, ...], message: str
) -> None:
    if "mode shrine" in more:
        others = {"tunnel": "10.0.0.1/24 1400"}
    assert message in error_of(lines(*more, **others))


def test_without_a_cathedral_the_other_lines_wait_for_one(lines: Lines) -> None:
    assert parse(lines(cathedral=None), "t.conf").cathedral is None


@pytest.mark.parametrize(
    ("name", "directive"),
    [("cs", "cathedral_secret"), ("cosk", "cathedral_cosk"), ("kek", "kek")],
)
def test_its_keys_are_files_like_the_secret(
    home: Path, lines: Lines, name: str, directive: str
) -> None:
    text = lines(f"kek {home}/kek")
    client(text)
    (home / name).chmod(0o640)
    assert f"{directive}: '{home / name}' is accessible by others" in error_of(text)
    (home / name).chmod(0o600)
    (home / name).write_bytes(bytes(SIZES[name] - 1))
    assert f"(expected at least {SIZES[name]})" in error_of(text)
    (home / name).unlink()
    assert f"{directive}: '{home / name}': No such file" in error_of(text)


class TestASecretThatComesAsAmbry:
    def files(self, home: Path, lines: Lines) -> tuple[str, str]:
        """With ``kek`` before ``secret``, and behind it."""
        text = lines(f"kek {home}/kek")
        return f"kek {home}/kek\n{lines()}", text

    def test_may_lack_if_kek_comes_first(self, home: Path, lines: Lines) -> None:
        first, last = self.files(home, lines)
        client(first)
        client(last)
        (home / "secret").unlink()
        client(first)
        assert "secret: " in error_of(last)

    def test_needs_its_directory(self, home: Path, lines: Lines) -> None:
        text = f"kek {home}/kek\n{lines(secret=f'{home}/none/secret')}"
        assert "secret: " in error_of(text)

    def test_in_a_directory_where_everyone_can_replace_it(self, home: Path, lines: Lines) -> None:
        first, _last = self.files(home, lines)
        (home / "secret").unlink()
        home.chmod(0o777)
        assert "everyone can replace" in error_of(first)


def test_a_remembrance_needs_a_place(home: Path, lines: Lines) -> None:
    assert client(lines(f"cathedral_remembrance {home}/new")).remembrance == home / "new"
    error = error_of(lines(f"cathedral_remembrance {home}/none/file"))
    assert "cathedral_remembrance: " in error
    assert "No such file or directory (expected an existing directory)" in error
    error = error_of(lines(f"cathedral_remembrance {home}"))
    assert "is not a regular file (expected one, or none yet)" in error


def test_a_closed_directory_is_said_to_be_closed(home: Path) -> None:
    """As that of another user is to the guardian, once its group runs."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").touch(mode=0o600)
    is_root = os.geteuid() == 0
    if is_root:
        home.chmod(0o711)
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    else:
        closed.chmod(0o600)
    try:
        for check in (check_secret, check_replaceable):
            with pytest.raises(Refused) as caught:
                check(closed / "secret", None)
            assert (
                f"Permission denied (expected a directory that we may enter: chmod 711 {closed})"
                in (str(caught.value))
            )
    finally:
        if is_root:
            os.seteuid(0)
        else:
            closed.chmod(0o700)


@pytest.mark.parametrize(
    ("folder", "user", "is_told"),
    [("", "nobody", True), ("", "root", False), ("own/", "nobody", False)],
)
def test_configurations_are_better_kept_from_the_keeper(
    home: Path,
    lines: Lines,
    caplog: pytest.LogCaptureFixture,
    folder: str,
    user: str,
    is_told: bool,
) -> None:
    """It may replace all files beside its own, and root reads them."""
    (home / "own").mkdir()
    config = parse(lines(f"cathedral_remembrance {home}/{folder}r"), f"{home}/t.conf")
    sandbox._warn_of_keeper(dataclasses.replace(config, run_as={"chapel": user}))
    told = f"who took chapel over could replace the configuration file={home}/t.conf"
    assert (told in caplog.text) == is_told


def test_the_keepers_user_has_to_be_able_to_write(home: Path) -> None:
    """Whoever that is; here somebody else than who runs the tests."""
    user = "daemon" if os.geteuid() == pwd.getpwnam("nobody").pw_uid else "nobody"
    home.chmod(0o755)
    with pytest.raises(Refused, match=f"user {user} can't write in"):
        check_replaceable(home / "secret", user)
    home.chmod(0o1777)
    check_replaceable(home / "secret", user)
    home.chmod(0o1776)
    with pytest.raises(Refused, match=f"user {user} can't write in"):
        check_replaceable(home / "secret", user)


@pytest.mark.parametrize("size", [1, 191, 193, 4096])
def test_a_file_of_another_size_is_no_remembrance(home: Path, lines: Lines, size: int) -> None:
    """It would be replaced, whatever it is."""
    text = lines(f"cathedral_remembrance {home}/r")
    (home / "r").write_bytes(bytes(size))
    assert f"t.conf:10: cathedral_remembrance: '{home}/r' has {size} bytes and would be" in (
        error_of(text)
    )
    for good in (0, 192):
        (home / "r").write_bytes(b"x" * good)
        client(text)


@pytest.mark.parametrize(
    ("name", "line"),
    [("secret", 3), ("cs", 7), ("cosk", 8), ("kek", 10), ("t.conf", None), ("pid", 11)],
)
def test_no_other_file_is_replaced(home: Path, lines: Lines, name: str, line: int | None) -> None:
    """Of 192 bytes here, as a remembrance has."""
    (home / name).write_bytes(bytes(192))
    (home / name).chmod(0o600)
    more = (f"kek {home}/kek", f"pidfile {home}/pid")
    config = parse(lines(*more, f"cathedral_remembrance {home}/./{name}"), f"{home}/t.conf")
    where = f"{home}/t.conf" + ("" if line is None else f":{line}")
    with pytest.raises(ConfigError) as caught:
        check_group([config])
    assert f"t.conf:12: cathedral_remembrance: '{home}/{name}' is taken by {where}," in (
        str(caught.value)
    )


def test_nor_what_is_written_on_the_way(home: Path, lines: Lines) -> None:
    text = lines(f"kek {home}/kek", f"cathedral_remembrance {home}/secret.new")
    with pytest.raises(ConfigError, match=r"cathedral_remembrance: .* is taken by"):
        check_group([parse(text, "t.conf")])


def test_a_secret_that_comes_as_ambry_is_no_other_key(home: Path, lines: Lines) -> None:
    for name in ("cs", "cosk", "kek"):
        text = lines(f"kek {home}/kek", secret=f"{home}/{name}")
        with pytest.raises(ConfigError, match=f"secret: '{home}/{name}' is taken by t.conf:"):
            check_group([parse(text, "t.conf")])


def test_two_tunnels_have_no_ambry_in_one_file(home: Path, lines: Lines) -> None:
    """Without ambries they may share a secret: nobody replaces it."""
    with_kek = lines(f"kek {home}/kek")
    plain = parse(lines(instance="b", tunnel="10.0.1.1/24 auto"), "two.conf")
    check_group([parse(lines(), "one.conf"), plain])
    with pytest.raises(ConfigError, match=r"two.conf:3: secret: .* is taken by one\.conf:3, and"):
        check_group([parse(with_kek, "one.conf"), plain])


def test_files_of_one_group_share_no_remembrance(home: Path, lines: Lines) -> None:
    text = lines(f"cathedral_remembrance {home}/r")
    one = parse(text, "one.conf")
    text = text.replace("instance a", "instance b").replace("10.0.0", "10.0.1")
    other = parse(text, "two.conf")
    with pytest.raises(ConfigError, match=r"cathedral_remembrance: .* is taken by one\.conf:10"):
        check_group([one, other])
