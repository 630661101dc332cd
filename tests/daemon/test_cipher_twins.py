"""The compiled cipher, replay window, sealing and opening, each against its twin in Python.

Whatever comes in, both leave the same bytes, runs, drops and windows behind, or both refuse.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot import twins
from chancel.daemon.hot.ciphers import suite_for, window_for
from chancel.daemon.hot.open import Opening, opening
from chancel.daemon.hot.seal import SealRuns, sealing
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.profile import CURRENT, V0_9, Profile
from chancel.protocol.traffic import Sealer
from chancel.protocol.window import ReplayWindow
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER, TrafficHeader, nonce
from chancel.wire.types import FlockId, Flocks, Salt, SessionKey, Spi
from tests.daemon.naive import fill, new_slot, packets_of

if twins.module() is None:
    pytest.skip(
        "needs cargo: `make setup` builds chancel_accel where it is found", allow_module_level=True
    )

KEY = bytes(range(32))
NONCE = bytes(range(12))
OURS = Flocks(FlockId(0x0102030405060708), FlockId(0x1112131415161718))
THEIRS = Flocks(OURS.peer, OURS.own)
KEYS = [
    (Spi(spi), Salt(bytes((number,)) * 4), SessionKey(bytes((number,)) * 32))
    for number, spi in enumerate((1, 2, 2, 3, 0x5341_4352))
]
"""Two with one SPI, and one whose SPI looks like the head of an offer."""
SLOT_BYTES = 64 * 1024


def using(function: Callable[[], Any], *names: str) -> Any:
    """What a function makes while the compiled twins of these names are in use."""
    before = twins.used()
    twins.use(names)
    try:
        return function()
    finally:
        twins.use(before)


def accelerator() -> Any:
    return twins.module()


# The cipher.


@given(st.binary(max_size=3000), st.one_of(st.none(), st.binary(max_size=100)))
def test_the_cipher_is_that_of_cryptography(data: bytes, bound: bytes | None) -> None:
    ours, theirs = accelerator().Aead(KEY), AESGCM(KEY)
    sealed = theirs.encrypt(NONCE, data, bound)
    assert ours.encrypt(NONCE, data, bound) == sealed
    assert ours.decrypt(memoryview(NONCE), bytearray(sealed), bound) == data
    into = bytearray(len(sealed))
    assert ours.encrypt_into(NONCE, data, bound, into) == len(sealed)
    assert into == sealed
    into = bytearray(len(data))
    assert ours.decrypt_into(NONCE, sealed, bound, memoryview(into)) == len(data)
    assert into == data


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(0, 7))
def test_what_was_changed_is_refused(data: bytes, at: int, bit: int) -> None:
    ours = accelerator().Aead(KEY)
    sealed = bytearray(ours.encrypt(NONCE, data, b"bound"))
    sealed[at % len(sealed)] ^= 1 << bit
    into = bytearray(b"\xaa" * len(data))
    with pytest.raises(InvalidTag):
        ours.decrypt(NONCE, sealed, b"bound")
    with pytest.raises(InvalidTag):
        ours.decrypt_into(NONCE, sealed, b"bound", into)
    assert into == bytes(len(data)), "nothing that isn't authentic is left behind"


def test_a_text_is_sealed_and_opened_where_it_lies() -> None:
    ours, memory = accelerator().Aead(KEY), bytearray(b"text" * 30 + bytes(16))
    text = memoryview(memory)[:-16]
    assert ours.encrypt_into(NONCE, text, None, memory) == 136
    assert memory == AESGCM(KEY).encrypt(NONCE, b"text" * 30, None)
    assert ours.decrypt_into(NONCE, memory, None, text) == 120
    assert text == b"text" * 30


@pytest.mark.parametrize(
    "call",
    [
        lambda: accelerator().Aead(bytes(31)),
        lambda: accelerator().Aead(bytes(16)),
        lambda: accelerator().Aead(KEY).encrypt(bytes(11), b"", None),
        lambda: accelerator().Aead(KEY).encrypt_into(NONCE, b"x", None, bytearray(16)),
        lambda: accelerator().Aead(KEY).encrypt_into(NONCE, b"x", None, bytes(17)),
        lambda: accelerator().Aead(KEY).decrypt_into(NONCE, bytes(17), None, bytearray(2)),
        lambda: accelerator().ReplayWindow(0),
        lambda: accelerator().ReplayWindow(2**40),
    ],
)
def test_misuse_of_the_cipher_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"key|nonce|buffer|ours|width"):
        call()


def test_what_is_shorter_than_a_tag_is_not_authentic() -> None:
    with pytest.raises(InvalidTag):
        accelerator().Aead(KEY).decrypt(NONCE, bytes(15), None)


def test_a_cipher_is_neither_copied_nor_shown() -> None:
    ours = accelerator().Aead(KEY)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="pickle"):
            attempt(ours)
    assert "\\x" not in repr(ours)
    assert KEY.hex() not in repr(ours)
    assert [name for name in dir(ours) if not name.startswith("__")] == [
        "decrypt",
        "decrypt_into",
        "encrypt",
        "encrypt_into",
    ]


def test_a_suite_has_the_cipher_of_its_function() -> None:
    assert isinstance(using(lambda: suite_for("seal"), "seal").aead(KEY), accelerator().Aead)
    assert isinstance(using(lambda: suite_for("open"), "seal").aead(KEY), AESGCM)
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        using(lambda: suite_for("seal"), "seal").aead(bytes(16))
    assert using(lambda: window_for("open"), "open") is accelerator().ReplayWindow
    assert using(lambda: window_for("open")) is ReplayWindow


# The window.

moves = st.one_of(
    st.integers(-70, 70),
    st.integers(-1100, 1100),
    st.sampled_from([63, 64, 65, 127, 128, 1023, 1024, 1025, 2**32, -1, 0, 1]),
)


@given(
    st.sampled_from([1, 2, 63, 64, 65, 128, 1000, 1024]),
    st.sampled_from([0, 1, 60, 2**32 - 5, 2**64 - 2000]),
    st.lists(st.one_of(moves, st.none()), max_size=60),
)
def test_the_windows_are_twins(width: int, first: int, steps: list[int | None]) -> None:
    ours, theirs = accelerator().ReplayWindow(width), ReplayWindow(width)
    number = first
    for step in steps:
        if step is None:
            ours.forget()
            theirs.forget()
            continue
        number = min(max(0, number + step), 2**64 - 1)
        assert ours.refusal(number) is theirs.refusal(number)
        assert ours.check(number) is theirs.check(number)
        if theirs.check(number):
            ours.mark(number)
            theirs.mark(number)
        assert (ours.width, ours.highest) == (theirs.width, theirs.highest)
        assert ours.bitmap == theirs.bitmap
        assert repr(ours) == repr(theirs)


@given(
    st.sampled_from([64, 1024]),
    st.lists(st.lists(st.integers(-1, 70), min_size=1, max_size=90), max_size=6),
)
def test_the_windows_are_twins_for_batches(width: int, batches: list[list[int]]) -> None:
    ours, theirs = accelerator().ReplayWindow(width), ReplayWindow(width)
    number = 0
    for steps in batches:
        numbers = []
        for step in steps:
            number = max(0, number + step)
            numbers.append(number)
        batch = np.array(numbers, np.uint64)
        assert ours.check_all(batch) == theirs.check_all(batch)
        if theirs.check_all(batch):
            ours.mark_all(batch)
            theirs.mark_all(batch)
        assert (ours.highest, ours.bitmap) == (theirs.highest, theirs.bitmap)


# Sealing.


def sealer(names: tuple[str, ...], profile: Profile) -> Sealer:
    made = Sealer(THEIRS, using(lambda: suite_for("seal"), *names), profile)
    made.execute(InstallSendKey(*KEYS[0]), 0.0)
    return made


shapes = st.lists(
    st.tuples(
        st.sampled_from([NEXT_INNER, NEXT_INNER, NEXT_GRACE]),
        st.integers(1, 30),
        st.integers(0, 700),
        st.integers(0, 700),
    ),
    min_size=1,
    max_size=5,
)


def laid_out(source: SlotView, shapes: list[tuple[int, int, int, int]]) -> list[Run]:
    """Runs of packets with tails behind them, one behind the other in a slot."""
    runs, at = list[Run](), 3
    for next_, count, size, shorter in shapes:
        sizes = [size] * (count - 1) + [min(size, shorter)]
        packets = [bytes((i, len(runs))) * (each // 2) + bytes(2) for i, each in enumerate(sizes)]
        packets = [packet if packet else bytes(2) for packet in packets]
        runs.append(fill(source, packets, at, tunnel=9, next=next_))
        at = runs[-1].end
    return runs


@pytest.mark.parametrize("profile", [CURRENT, V0_9], ids=["current", "0.9"])
@given(shapes=shapes, at=st.integers(0, 99), first=st.sampled_from([1, 2**32 - 7, 2**33]))
def test_both_seal_a_batch_into_the_same_slot(
    profile: Profile, shapes: list[tuple[int, int, int, int]], at: int, first: int
) -> None:
    source = new_slot(256 * 1024)
    runs = laid_out(source, shapes)
    results = []
    for names in ((), ("seal",)):
        each = sealer(names, profile)
        each.reserve(first - 1, 0.0)
        keys = each.reserve(sum(run.packets for run in runs), 0.0)
        target = new_slot(256 * 1024)
        seal: SealRuns = using(sealing, *names)
        assert keys is not None
        results.append((seal(keys, source, runs, target, at), bytes(target.memory)))
    assert results[0] == results[1]
    assert all(run.source == b"" for run in results[0][0]), "nothing is handed on in the clear"


@pytest.mark.parametrize("names", [(), ("seal",)], ids=["python", "compiled"])
def test_no_packet_is_sealed_without_a_number_reserved_for_it(names: tuple[str, ...]) -> None:
    source, target = new_slot(), new_slot()
    runs = [fill(source, [bytes(50)] * 8), fill(source, [bytes(50)] * 2, 400)]
    keys = sealer(names, CURRENT).reserve(9, 0.0)
    with pytest.raises((LocalProtocolError, ValueError), match="reserved"):
        using(sealing, *names)(keys, source, runs, target, 0)


# Opening.


def opener(names: tuple[str, ...], profile: Profile, behaviour: Behaviour) -> Opener:
    return Opener(
        OURS,
        using(lambda: suite_for("open"), *names),
        behaviour,
        profile,
        using(lambda: window_for("open"), *names),
    )


Packet = tuple[int, int, bytes, int | None]
"""Key, step of its number, tail, and the byte that is damaged."""

packets = st.tuples(
    st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4]),
    st.sampled_from([1] * 12 + [0, -1, 2, 3, -3, 1030, -1030, -63, -64]),
    st.sampled_from([b"\0\0"] * 8 + [b"\0\xfc"] * 2 + [b"\0\1", b"\1\0"]),
    st.sampled_from([None] * 12 + list(range(0, 60, 4))),
)
runs_of_packets = st.tuples(
    st.lists(packets, min_size=1, max_size=24), st.integers(0, 300), st.integers(0, 300)
)
commands = st.one_of(st.integers(0, len(KEYS) - 1), st.just(None))
SCRIPT = [
    (0.0, [0, 1], [([(0, 1, b"\0\0", None)] * 12, 40, 10)]),
    (1.0, [2, 3], [([(2, 1, b"\0\0", None), (1, 1, b"\0\0", None)] * 3, 9, 9)] * 2),
    (3.0, [], [([(3, 1, b"\0\xfc", None), (0, 1, b"\0\0", None), (2, 1, b"\1\0", 40)], 9, 9)]),
]
RENEWED = [
    (0.0, [0, 3], [([(0, 1, b"\0\0", None)] * 12, 40, 10)]),
    (0.0, [], [([(3, 1, b"\0\0", None)] * 12, 40, 40), ([(3, -3, b"\0\0", None)] * 3, 9, 9)]),
    (0.1, [], [([(0, 1, b"\0\0", None)] * 12, 40, 10)]),
    (11.0, [], [([(0, 1, b"\0\0", None)] * 12, 40, 10)]),
]


class Sender:
    """Makes datagrams under all keys, and remembers their numbers."""

    def __init__(self, profile: Profile) -> None:
        self._layout = profile.layouts.traffic
        self._suite = SystemSuite()
        self._numbers = [0] * len(KEYS)

    def datagram(self, sent: Packet, payload: bytes) -> bytes:
        which, step, tail, damaged = sent
        spi, salt, key = KEYS[which]
        number = self._numbers[which] = max(0, self._numbers[which] + step)
        header = self._layout.encode(TrafficHeader(spi, number, *THEIRS))
        bound = self._layout.associated_data(header)
        text = self._suite.aead(key).encrypt(nonce(salt, number), payload + tail, bound)
        whole = bytearray(header + text)
        if damaged is not None:
            whole[damaged % len(whole)] ^= 4
        return bytes(whole)


def state_of(each: Opener) -> object:
    slots = [
        (slot.spi, slot.salt, slot.window.highest, slot.window.bitmap, slot.packets)
        for slot in each.slots()
    ]
    return slots, repr(each), each.report(), each.wake_at(), dict(each.drops)


@pytest.mark.parametrize("behaviour", [CHANCEL, REFERENCE], ids=["chancel", "reference"])
@pytest.mark.parametrize("profile", [CURRENT, V0_9], ids=["current", "0.9"])
@given(
    script=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 4.0, 11.0]),
            st.lists(commands, max_size=3),
            st.lists(runs_of_packets, min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=5,
    ),
    at=st.sampled_from([0, 16, 999]),
)
@example(script=SCRIPT, at=0)
@example(script=RENEWED, at=0)
def test_both_open_a_batch_into_the_same_runs(
    profile: Profile, behaviour: Behaviour, script: list[Any], at: int
) -> None:
    plain, fast = opener((), profile, behaviour), opener(("open",), profile, behaviour)
    single = opener((), profile, behaviour)
    sender, now = Sender(profile), 0.0
    for wait, keys, shapes in script:
        now += wait
        for each in (plain, fast, single):
            each.wake(now)
            for which in keys:
                each.execute(EraseKeys() if which is None else InstallReceiveKey(*KEYS[which]), now)
        source = new_slot(SLOT_BYTES)
        runs, datagrams, start = [], [], 5
        for sent, size, shorter in shapes:
            sizes = [size] * (len(sent) - 1) + [min(size, shorter)]
            some = [
                sender.datagram(each, bytes((i,)) * length)
                for i, (each, length) in enumerate(zip(sent, sizes, strict=True))
            ]
            runs.append(fill(source, some, start, tunnel=4)._replace(source=bytes(range(18))))
            start = runs[-1].end
            datagrams += some
        assert_alike(plain, fast, source, runs, at, now)
        assert_as_single(single, fast, datagrams, now)


def assert_alike(
    plain: Opener, fast: Opener, source: SlotView, runs: list[Run], at: int, now: float
) -> None:
    before = bytes(source.memory)
    made = []
    for each, names in ((plain, ()), (fast, ("open",))):
        target = new_slot(SLOT_BYTES)
        opens: Opening = using(opening, *names)
        opened = opens.open_runs(each, source, runs, target, at, now)
        made.append((opened, [packets_of(target, [run]) for run in opened]))
    assert made[0] == made[1]
    assert state_of(plain) == state_of(fast)
    assert bytes(source.memory) == before


def assert_as_single(single: Opener, fast: Opener, datagrams: list[bytes], now: float) -> None:
    """The same keys, windows and drops as packet by packet."""
    for datagram in datagrams:
        try:
            single.open_untrusted(datagram, now)
        except RemoteProtocolError as error:
            single.drops[error.reason] += 1
    assert state_of(single) == state_of(fast)


# What no process would hand over.

numbers = st.one_of(st.integers(0, 70_000), st.sampled_from([-1, 2**16, 2**32, 2**63, 2**64]))


@given(st.tuples(*[numbers] * 6), numbers)
@example((0, 0, 2, 100, 100, 4050), 0)
@example((0, 0, 1, 100, 100, 0), 4090)
def test_a_run_that_can_not_be_is_an_error_and_no_more(fields: tuple[int, ...], at: int) -> None:
    run = Run._make((*fields, bytes(18)))
    source, target = new_slot(4096), new_slot(4096)
    keys = sealer(("seal",), CURRENT).reserve(2**20, 0.0)
    each = opener(("open",), CURRENT, CHANCEL)
    each.execute(InstallReceiveKey(*KEYS[0]), 0.0)
    for call in (
        partial(accelerator().seal_runs, keys, source, [run], target, at),
        partial(accelerator().open_runs, each, source, [run], target, at, 0.0),
    ):
        try:
            made = call()
        except (IndexError, ValueError, OverflowError):
            continue
        assert all(out.offset >= 0 and out.end <= 4096 for out in made)


def test_a_slot_of_another_process_is_not_written() -> None:
    source, target = new_slot(4096), SlotView(memoryview(bytes(4096)))
    keys = sealer(("seal",), CURRENT).reserve(1, 0.0)
    with pytest.raises(ValueError, match="not ours"):
        accelerator().seal_runs(keys, source, [fill(source, [bytes(50)])], target, 0)


def test_keys_of_the_other_twin_are_refused() -> None:
    source, target = new_slot(4096), new_slot(4096)
    run = fill(source, [bytes(50)])
    keys = sealer((), CURRENT).reserve(1, 0.0)
    with pytest.raises(TypeError):
        accelerator().seal_runs(keys, source, [run], target, 0)
    each = opener((), CURRENT, CHANCEL)
    each.execute(InstallReceiveKey(*KEYS[0]), 0.0)
    with pytest.raises(TypeError):
        accelerator().open_runs(each, source, [run], target, 0, 0.0)
