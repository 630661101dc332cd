"""What is kept of ambries from one run to the next, and from which file it is believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import VaultError
from chancel.vault.ambries import (
    HISTORY_BYTES,
    MAX_REPLACED,
    NO_AMBRIES,
    AmbryHistory,
    beside,
    recall,
)
from chancel.wire.ambry import SEED_BYTES, Header

GENERATIONS = st.integers(1, (1 << 32) - 1)
DAYS = st.integers(0, 0xFFFF)
HEADERS = st.lists(st.builds(Header, DAYS, GENERATIONS, st.just(bytes(SEED_BYTES))), max_size=20)


def header(generation: int, expires: int = 30) -> Header:
    return Header(expires, generation, bytes(SEED_BYTES))


def having(*headers: Header) -> AmbryHistory:
    history = NO_AMBRIES
    for each in headers:
        history = history.after(each)
    return history


@given(HEADERS)
def test_what_was_kept_is_what_is_recalled(headers: list[Header]) -> None:
    history = having(header(1), *headers)
    assert AmbryHistory.decode(history.encode()) == history


@given(HEADERS, st.builds(Header, DAYS, GENERATIONS, st.just(bytes(SEED_BYTES))))
def test_the_one_in_use_is_never_among_those_replaced(headers: list[Header], last: Header) -> None:
    history = having(*headers, last)
    assert history.generation == last.generation
    assert last.generation not in history.replaced
    assert set(history.replaced) == {each.generation for each in headers} - {last.generation}
    assert not history.refuses(last)


def test_one_that_was_replaced_is_refused() -> None:
    history = having(header(1), header(2))
    assert history.refuses(header(1))
    assert not history.refuses(header(2))
    assert not history.refuses(header(3))


def test_only_the_one_that_expires_last_may_return() -> None:
    history = having(header(1, 20), header(2, 30), header(3, 10))
    assert not history.refuses(header(2, 30))
    assert history.refuses(header(1, 20))


def test_the_longest_fits_the_file_and_the_oldest_is_forgotten() -> None:
    history = having(*(header(number) for number in range(1, MAX_REPLACED + 3)))
    assert len(history.encode()) == HISTORY_BYTES
    assert not history.refuses(header(1))
    assert history.refuses(header(2))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_history_or_refused(data: bytes) -> None:
    try:
        history = AmbryHistory.decode(data)
    except VaultError:
        return
    assert history.encode() == data


@pytest.mark.parametrize(
    "data",
    [
        bytes(8),
        having(header(1), header(2)).encode() + b"\0",
        having(header(1), header(2)).encode()[:7],
        having(header(1), header(2)).encode() + bytes.fromhex("00000002"),
        having(header(1), header(2)).encode() + bytes(4),
        AmbryHistory(1, 30, 29).encode(),
        having(header(1), header(2)).encode() + bytes(HISTORY_BYTES),
    ],
    ids=["none", "a byte", "short", "in use", "generation 0", "latest", "long"],
)
def test_what_is_no_history(data: bytes) -> None:
    with pytest.raises(VaultError):
        AmbryHistory.decode(data)


class TestFile:
    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        return tmp_path / "home.key"

    def keep(self, secret: Path, data: bytes, mode: int = 0o600) -> Path:
        path = beside(secret)
        path.touch(0o600)
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def test_where_it_is(self, secret: Path) -> None:
        assert beside(secret).name == "home.key.ambries"

    def test_none_yet(self, secret: Path) -> None:
        assert recall(secret) == NO_AMBRIES

    def test_what_is_there(self, secret: Path) -> None:
        history = having(header(1), header(2))
        self.keep(secret, history.encode())
        assert recall(secret) == history

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o604, 0o666])
    def test_rights_of_others_are_refused(self, secret: Path, mode: int) -> None:
        path = self.keep(secret, having(header(1)).encode(), mode)
        with pytest.raises(VaultError, match=re.escape(f"{path}: others have rights to it")):
            recall(secret)

    def test_a_link_is_refused(self, secret: Path, tmp_path: Path) -> None:
        beside(secret).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(VaultError, match="symbolic link"):
            recall(secret)

    def test_a_directory_of_everybody_is_refused(self, secret: Path, tmp_path: Path) -> None:
        self.keep(secret, having(header(1)).encode())
        tmp_path.chmod(0o777)
        with pytest.raises(VaultError, match="everyone can replace"):
            recall(secret)

    def test_another_file_is_refused_by_name(self, secret: Path) -> None:
        path = self.keep(secret, b"not of ambries")
        with pytest.raises(VaultError, match=re.escape(f"{path}: ")):
            recall(secret)
