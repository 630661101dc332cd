"""Files that the keeper replaces, and the last addresses of a peer: whole, or as they were."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon import peers, replacing
from chancel.daemon.peers import FILE_BYTES, MAX_PEERS, Peers
from chancel.wire.types import Address

OLD, NEW = b"o" * 192, b"n" * 192
HERE, THERE = Address("192.0.2.7", 2333), Address("2001:db8::7", 65535)


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (OLD, NEW):
        replacing.replace(str(path), content)
        assert contents(tmp_path) == {"file": content}
        assert path.stat().st_mode & 0o777 == 0o600
    assert replacing.read(str(path), 192) == NEW
    assert replacing.read(str(path), 8) == NEW[:8]


def test_what_an_earlier_try_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(OLD)
    (tmp_path / "file.new").symlink_to(tmp_path / "elsewhere")
    replacing.replace(str(tmp_path / "file"), NEW)
    assert contents(tmp_path) == {"elsewhere": OLD, "file": NEW}
    assert not (tmp_path / "file").is_symlink()


def in_a_child(action: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A limit stands for it: the kernel takes some bytes, and then no more."""
    path = tmp_path / "file"
    replacing.replace(str(path), OLD)

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        replacing.replace(str(path), NEW)

    assert in_a_child(fill) == 27  # EFBIG
    assert contents(tmp_path) == {"file": OLD}


def test_a_directory_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        replacing.replace(str(tmp_path / "file"), NEW)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "none"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    match kind:
        case "link":
            (tmp_path / "target").write_bytes(OLD)
            path.symlink_to(tmp_path / "target")
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    with pytest.raises(OSError):
        replacing.read(str(path), 192)


def opened(path: Path) -> Peers:
    return Peers(peers.open_file(path), "a")


def test_peers_are_kept_the_newest_first(tmp_path: Path) -> None:
    path = peers.path_of(tmp_path, "a")
    kept = opened(path)
    assert kept.kept == ()
    kept.keep(HERE)
    kept.keep(THERE)
    kept.keep(THERE)
    kept.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = opened(path)
    assert again.kept == (THERE, HERE)
    again.keep(HERE)
    again.close()
    assert opened(path).kept == (HERE, THERE)


def test_no_more_than_a_few_are_kept(tmp_path: Path) -> None:
    path = peers.path_of(tmp_path, "a")
    kept = opened(path)
    many = [Address(f"192.0.2.{n}", 65535) for n in range(40)]
    for each in many:
        kept.keep(each)
    assert kept.kept == tuple(many[:-5:-1])
    longest = [
        Address(f"fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:{n:x}", 65535) for n in range(4096, 4100)
    ]
    kept.keep_all(longest)
    assert path.stat().st_size == FILE_BYTES
    assert opened(path).kept == tuple(longest)
    assert len(longest) == MAX_PEERS


@given(st.binary(max_size=FILE_BYTES + 10))
def test_whatever_stands_there_is_harmless(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.peers"
    path.write_bytes(content)
    kept = opened(path)
    assert len(kept.kept) <= MAX_PEERS
    assert all(each.port for each in kept.kept)
    kept.keep(HERE)
    kept.close()
    assert opened(path).kept[0] == HERE


def test_lines_that_can_be_read_among_others(tmp_path: Path) -> None:
    path = peers.path_of(tmp_path, "a")
    path.write_text("x\n192.0.2.7:2333\n\n1.2.3.4:0\n192.0.2.7:2333\n[2001:db8::7]:65535\n\0\0")
    assert opened(path).kept == (HERE, THERE)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "directory"])
def test_only_a_file_of_its_own_is_opened(tmp_path: Path, kind: str) -> None:
    """The directory may be another user's, who shan't have us write to a file of our own."""
    target, path = tmp_path / "target", peers.path_of(tmp_path, "a")
    target.write_bytes(OLD)
    match kind:
        case "link":
            path.symlink_to(target)
        case "hard link":
            path.hardlink_to(target)
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    with pytest.raises(OSError):
        peers.open_file(path)
    assert target.read_bytes() == OLD


def test_a_file_that_was_never_needed_goes(tmp_path: Path) -> None:
    path = peers.path_of(tmp_path, "a")
    kept = opened(path)
    peers.remove_unused(path)
    assert not path.exists()
    kept = opened(path)
    kept.keep(HERE)
    peers.remove_unused(path)
    assert path.exists()


def test_a_disk_that_takes_nothing_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = peers.path_of(tmp_path, "a")
    path.write_bytes(b"192.0.2.7:2333\n")
    kept = Peers(os.open(path, os.O_RDONLY), "a")
    kept.keep(THERE)
    kept.keep(THERE)
    assert len([each for each in caplog.records if "not kept" in each.message]) == 1
    assert kept.kept == (THERE, HERE)


def test_without_a_file_nothing_is_kept() -> None:
    kept = Peers(None, "a")
    kept.keep(HERE)
    kept.close()
    assert kept.kept == ()
