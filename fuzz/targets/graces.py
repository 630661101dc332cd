"""Whatever the peer's graces say, the MTU stays allowed and what is said in answer stays little.

Protocol section 11: no acknowledgement above our own maximum is believed, none is made above it.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.protocol.graces import Graces
from chancel.protocol.profile import CURRENT
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe, decode_untrusted
from fuzz.script import Script

_MAXIMA = (623, 1280, 1422)
_MOST_PAYLOADS = 3
"""A heartbeat, a probe and an answer."""


def check(data: bytes) -> None:
    script = Script(data)
    maximum, discovery, now = script.pick(_MAXIMA), script.flag(), 0.0
    graces = Graces(maximum, discovery, now)
    while script.more():
        match script.number() % 7:
            case 0:
                graces.key_installed(now)
            case 1:
                graces.key_lost()
            case 2:
                graces.path_changed(now)
            case 3:
                graces.probe_received(script.number(2))
            case 4:
                graces.ack_received(script.number(2), now)
            case 5:
                now += script.number(2) / 16
            case _:
                due = graces.wake_at()
                now = max(now, now if due is None else due)
        graces.wake(now)
        payloads = graces.payloads()
        assert len(payloads) <= _MOST_PAYLOADS
        for payload in payloads:
            match decode_untrusted(payload):
                case MtuProbe(size):
                    assert discovery
                    assert size == len(payload) <= maximum
                case MtuAck(size):
                    assert CURRENT.mtu_minimum <= size <= maximum
                case Heartbeat():
                    pass
        due = graces.wake_at()
        assert due is None or due > now
        assert CURRENT.mtu_minimum <= graces.mtu <= maximum
        assert discovery or graces.mtu == maximum


def seeds() -> Iterator[bytes]:
    yield bytes((2, 1, 0, 6, 6, 6, 6, 4, 5, 0x8E, 5, 0x40, 0))
    yield bytes((2, 0, 0, 3, 5, 0x8E, 3, 0xFF, 0xFF, 4, 5, 0))
    yield bytes((1, 1, 0)) + bytes((6,)) * 40
