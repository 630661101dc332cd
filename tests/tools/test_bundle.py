"""Bundles, made and looked at: who can open what, and which files are no bundles."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.errors import ChancelError, VaultError
from chancel.tools.ambry import crew, keys
from chancel.tools.ambry.bundle import Ends, load_ends, make, new_header
from chancel.tools.ambry.check import Device, Findings, check, refused
from chancel.tools.ambry.folder import Folder
from chancel.tools.ambry.reading import Bundle, decode_untrusted, read
from chancel.wire.ambry import (
    CROSSING,
    DAY_S,
    DEVICES,
    ENTRY_BYTES,
    EPOCH_S,
    HEADER_BYTES,
    OWN,
    Header,
)
from chancel.wire.types import Flocks
from tests.tools.playing import FLOCK, NOW, OTHER, SUITE, bundle_of, quiet

NAME = "home.ambry"
HOME = Flocks(FLOCK, FLOCK)


def looked_at(bundle: Bundle, root: Path) -> Findings:
    return check(bundle, load_ends(root, bundle.flocks, SUITE), SUITE, quiet)


def entry(data: bytes, index: int) -> slice:
    start = HEADER_BYTES + index * ENTRY_BYTES
    return slice(start, start + ENTRY_BYTES)


class TestMaking:
    def test_it_opens_for_every_device(self, made: Path, bundle: bytes) -> None:
        found = looked_at(decode_untrusted(bundle, NAME), made)
        assert found.opens == tuple(Device(FLOCK, device) for device in DEVICES)
        assert found.sound

    def test_every_tunnel_has_a_secret_of_its_own(self, made: Path, bundle: bytes) -> None:
        ends = load_ends(made, HOME, SUITE)
        looked = decode_untrusted(bundle, NAME)
        wrapping, _ = ends.wrappings(SUITE, looked.header)
        secrets = []
        for device in (1, 2, 0xFF):
            with ends.keys[0][device].reveal() as key:
                secrets += [
                    wrapping.unwrap(key, own_name, wrapped)
                    for (_, own_name), wrapped in looked.wrapped.items()
                    if own_name >> 8 == device
                ]
        assert len(secrets) == 3 * 254
        assert len(set(secrets)) == 3 * 254 - 3  # three tunnels are among these devices

    def test_across_two_flocks(self, made: Path) -> None:
        data = bundle_of(made, FLOCK, OTHER, NOW)
        assert len(data) == CROSSING.size
        looked = decode_untrusted(data, NAME)
        assert looked.flocks == (FLOCK, OTHER)
        found = looked_at(looked, made)
        assert len(found.opens) == len(set(found.opens)) == 2 * len(DEVICES)
        assert found.sound

    def test_the_header(self, bundle: bytes) -> None:
        header = Header.decode_untrusted(bundle)
        assert header.expires == (NOW - EPOCH_S) // DAY_S + 30
        assert header.generation != 0

    def test_a_generation_is_never_none_nor_that_of_the_last(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn = [bytes(4), (7).to_bytes(4, "big"), (8).to_bytes(4, "big"), bytes(64)]
        monkeypatch.setattr(type(SUITE), "random", lambda _self, _size: drawn.pop(0))
        assert new_header(SUITE, NOW, 30, unlike=7).generation == 8
        assert drawn == []

    @pytest.mark.parametrize("now", [0.0, EPOCH_S - 31 * DAY_S, EPOCH_S + 70_000 * DAY_S])
    def test_a_clock_that_cannot_be_right(self, now: float) -> None:
        with pytest.raises(VaultError, match="set the clock"):
            new_header(SUITE, now, 30)

    def test_progress_is_told_to_the_end(self, made: Path) -> None:
        told: list[tuple[int, int]] = []
        ends = load_ends(made, HOME, SUITE)
        make(ends, new_header(SUITE, NOW, 30), SUITE, lambda *done: told.append(done))
        assert told[-1] == (255, 255)
        assert told == sorted(told)


class TestCrew:
    """The processes that share the work."""

    def test_there_is_one_for_each_core(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crew, "cores", lambda: 3)
        reading, writing = os.pipe()

        def work(parts: Iterator[int]) -> None:
            os.write(writing, b"".join(bytes((part,)) for part in parts) + b"|")

        crew.share_out(work, range(10), quiet)
        os.close(writing)
        with open(reading, "rb") as pipe:
            shares = pipe.read().strip(b"|").split(b"|")
        assert sorted(map(bytes, shares)) == [
            bytes((0, 3, 6, 9)),
            bytes((1, 4, 7)),
            bytes((2, 5, 8)),
        ]

    def test_one_that_dies_fails_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crew, "cores", lambda: 2)

        def work(parts: Iterator[int]) -> None:
            if next(parts) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # the other would go on for ever

        with pytest.raises(ChancelError, match="ended with -9"):
            crew.share_out(work, range(2), quiet)

    def test_none_outlives_the_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crew, "cores", lambda: 2)
        reading, writing = os.pipe()

        def work(_parts: Iterator[int]) -> None:
            signal.pause()

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            crew.share_out(work, range(2), interrupted)
        os.close(writing)
        with open(reading, "rb") as pipe:
            assert pipe.read() == b""  # comes to its end when the last of them is gone


def changed(data: bytes, place: slice | int, value: bytes) -> bytes:
    copy = bytearray(data)
    if isinstance(place, int):
        place = slice(place, place + len(value))
    copy[place] = value
    return bytes(copy)


FLOCK_OF_FIRST = HEADER_BYTES
TUNNEL_OF_FIRST = HEADER_BYTES + 8


class TestReading:
    @pytest.mark.parametrize("size", [0, 1, 69, 70, 128, OWN.size - 1, OWN.size + 1])
    def test_other_sizes_are_no_bundles(self, tmp_path: Path, bundle: bytes, size: int) -> None:
        path = tmp_path / NAME
        path.write_bytes((bundle + b"\0")[:size])
        with pytest.raises(VaultError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path}: has {size} bytes, and a bundle 3756730, or 7542970 for two flocks:"
            " it is half written, or another file"
        )

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda data: changed(data, 2, bytes(4)), "has generation 0, which means none"),
            (
                lambda data: changed(data, HEADER_BYTES + ENTRY_BYTES, bytes(8)),
                "entry 2 is for flock 0000000000000000, a foreign one",
            ),
            (
                lambda data: changed(data, FLOCK_OF_FIRST + 7, b"\1"),
                "entry 1 is for flock 00000000cafeba01, a foreign one",
            ),
            (
                lambda data: changed(data, TUNNEL_OF_FIRST, b"\x02\x01"),
                "entry 2 is for tunnel 0201 once more",
            ),
            (
                lambda data: changed(data, TUNNEL_OF_FIRST, b"\x01\x01"),
                "has no entry for flock 00000000cafeba00, tunnel 0102",
            ),
            (lambda _data: os.urandom(OWN.size), "a foreign one"),
            (
                lambda data: (data + data[HEADER_BYTES:]).ljust(CROSSING.size, b"\0"),
                "is for tunnel 0102 once more",
            ),
        ],
        ids=["generation", "flock", "domain", "twice", "missing", "noise", "one for two"],
    )
    def test_what_is_wrong_is_named(
        self, bundle: bytes, change: Callable[[bytes], bytes], problem: str
    ) -> None:
        with pytest.raises(VaultError) as caught:
            decode_untrusted(change(bundle), NAME)
        assert str(caught.value).startswith(f"{NAME}: ")
        assert problem in str(caught.value)

    def test_any_order_will_do(self, made: Path, bundle: bytes) -> None:
        first, last = bundle[entry(bundle, 0)], bundle[entry(bundle, 2 * OWN.pairs - 1)]
        swapped = changed(bundle, entry(bundle, 0), last)
        swapped = changed(swapped, entry(bundle, 2 * OWN.pairs - 1), first)
        looked = decode_untrusted(swapped, NAME)
        assert looked == decode_untrusted(bundle, NAME)
        assert looked_at(looked, made).sound

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(VaultError, match="is not a regular file"):
                read(path)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")


class TestChecking:
    @pytest.mark.parametrize("byte", [10, 41, 42, 57])
    def test_a_changed_entry_is_found(self, made: Path, bundle: bytes, byte: int) -> None:
        place = entry(bundle, 507).start + byte
        damaged = changed(bundle, place, bytes((bundle[place] ^ 1,)))
        found = looked_at(decode_untrusted(damaged, NAME), made)
        assert found.damaged == ((FLOCK, 0xFF01),)
        assert found.cut_off == ()
        assert not found.sound

    @pytest.mark.parametrize("byte", [0, 2, 6, 69])
    def test_a_changed_header_closes_everything(self, made: Path, bundle: bytes, byte: int) -> None:
        damaged = changed(bundle, byte, bytes((bundle[byte] ^ 1,)))
        found = looked_at(decode_untrusted(damaged, NAME), made)
        assert found.opens == found.damaged == ()
        assert len(found.cut_off) == 255

    def test_both_ends_must_have_one_secret(self, made: Path, bundle: bytes) -> None:
        ends = load_ends(made, HOME, SUITE)
        wrapping, _ = ends.wrappings(SUITE, Header.decode_untrusted(bundle))
        with ends.keys[0][1].reveal() as key:
            other = wrapping.wrap(key, 0x0102, bytes(32))
        place = slice(entry(bundle, 0).start + 10, entry(bundle, 0).stop)
        found = looked_at(decode_untrusted(changed(bundle, place, other), NAME), made)
        assert found.damaged == ((FLOCK, 0x0102), (FLOCK, 0x0201))

    def test_a_renewed_device_is_cut_off(self, root: Path, bundle: bytes) -> None:
        for device in (1, 0xFF):
            keys.renew(Folder(root, FLOCK), device, SUITE)
        looked = decode_untrusted(bundle, NAME)
        found = looked_at(looked, root)
        assert found.cut_off == (Device(FLOCK, 1), Device(FLOCK, 0xFF))
        assert len(found.opens) == 253
        assert found.damaged == ()
        assert refused(looked, load_ends(root, HOME, SUITE), SUITE) == found.cut_off

    def test_what_has_no_key_here_is_not_judged(self, made: Path) -> None:
        looked = decode_untrusted(bundle_of(made, FLOCK, OTHER, NOW), NAME)
        ends = load_ends(made, looked.flocks, SUITE)
        found = check(looked, Ends(looked.flocks, ({}, ends.keys[1])), SUITE, quiet)
        assert found.opens == tuple(Device(OTHER, device) for device in DEVICES)
        assert found.sound
