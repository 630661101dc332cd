"""A run of datagrams opened at once gives what it gives packet by packet, whoever made the packets.

Protocol section 3.3. Payloads, their order, drops and replay window are the same; runs fit.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.open import open_run
from chancel.daemon.hot.seal import Nonces
from chancel.daemon.run import decode_runs, encode_runs
from chancel.errors import RemoteProtocolError
from chancel.protocol.messages import InstallReceiveKey
from chancel.protocol.opening import Opener
from chancel.wire.traffic import CURRENT, HEADER_BYTES, TrafficHeader, nonce
from chancel.wire.types import NO_FLOCKS, FlockId, Salt, SessionKey, Spi
from fuzz.script import Script
from tests.daemon.naive import fill, new_slot, packets_of

_SUITE = SystemSuite()
KEYS = tuple(
    InstallReceiveKey(Spi(spi), Salt(bytes((spi,)) * 4), SessionKey(bytes((key,)) * 32))
    for spi, key in ((1, 1), (2, 2), (2, 3), (4, 4))
)
_AEADS = tuple(_SUITE.aead(each.key) for each in KEYS)
_SOURCE, _TARGET = new_slot(64 * 1024), new_slot(64 * 1024)
_NONCES = Nonces()
_SOURCE_ADDRESS = bytes(18)
_MOST_PACKETS = 12
MOST_BYTES = 1024


def check(data: bytes) -> None:
    script = Script(data)
    fast, slow = Opener(NO_FLOCKS, _SUITE), Opener(NO_FLOCKS, _SUITE)
    now, number = 0.0, 1
    while script.more():
        if script.flag():
            command = script.pick(KEYS)
            fast.execute(command, now)
            slow.execute(command, now)
        now += script.number() / 4
        size = script.number() % 100
        packets = []
        for _ in range(script.number() % _MOST_PACKETS + 1):
            number = max(1, number + script.number() - script.pick((0, 0, 1, 100)))
            packets.append(datagram(script, number, size))
        packets[-1] = packets[-1][: max(1, len(packets[-1]) - script.number() % 60)]
        _compare(fast, slow, packets, now)


def _compare(fast: Opener, slow: Opener, packets: list[bytes], now: float) -> None:
    run = fill(_SOURCE, packets)._replace(source=_SOURCE_ADDRESS)
    fast.wake(now)
    runs = open_run(fast, _NONCES, _SOURCE, run, _TARGET, 0, now)
    assert decode_runs(encode_runs(runs), len(_TARGET.memory)) == runs
    opened = []
    for packet in packets:
        try:
            payload, next_ = slow.open_untrusted(packet, now)
        except RemoteProtocolError as error:
            slow.drops[error.reason] += 1
            continue
        opened.append((payload + bytes((0, next_)), next_))
    for each in runs:
        expected = [text for text, next_ in opened if next_ == each.next]
        assert packets_of(_TARGET, [each]) == expected
    assert sum(each.packets for each in runs) == len(opened)
    assert fast.drops == slow.drops
    assert repr(fast) == repr(slow)
    assert fast.report() == slow.report()


def datagram(script: Script, number: int, size: int) -> bytes:
    """One datagram: authentic under one of the keys, then perhaps changed."""
    which = script.number() % len(KEYS)
    key, aead = KEYS[which], _AEADS[which]
    flocks = FlockId(script.pick((0, 0, 0, 7)))
    header = CURRENT.encode(TrafficHeader(key.spi, number & (1 << 64) - 1, flocks))
    tail = script.pick((b"\0\0", b"\0\0", b"\0\xfc", b"\0\1", b"\1\0"))
    text = aead.encrypt(nonce(key.salt, number & (1 << 64) - 1), bytes(size) + tail, header)
    packet = bytearray(header + text)
    if script.flag():
        packet[script.number() % len(packet)] ^= script.number()
    assert len(packet) >= HEADER_BYTES
    return bytes(packet)


def seeds() -> Iterator[bytes]:
    yield bytes((1, 0, 0, 60, 5)) + bytes((1, 0, 0, 0, 0, 0)) * 6
    yield bytes((1, 1, 0, 60, 7)) + bytes((1, 0, 1, 0, 2, 0)) * 8 + bytes(30)
    yield bytes((1, 3, 1, 20, 3)) + bytes((1, 0, 3, 0, 0, 1, 40, 255)) * 4
