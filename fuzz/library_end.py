"""A libkyrka context that a script drives: what went through it, and what should have happened."""

from __future__ import annotations

import array
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from chancel.errors import LocalProtocolError
from chancel.sim.suite import FastSuite
from chancel.wire.traffic import nonce
from chancel.wire.types import Salt
from fuzz.script import Script
from libkyrka import KYRKA, constants
from libkyrka.context import make_context
from libkyrka.receiving import Receiving
from libkyrka.sending import Sending
from libkyrka.surroundings import Surroundings
from tests.libkyrka.ends import Clock

_FAILED: Final = "a callback failed"
_MOST_OFFERS = 24
"""At once: our key and an answer, each of four fragments, for what is due and for what came."""
_TAILS = (b"\0\0", b"\0\0", b"\0\xfc", b"\1\0", b"\0\1")

_TEXT_CALLS = frozenset(("secret_load_path", "vicar_load"))
"""They take strings, of which some can't be said in C, which is a ``ValueError``."""
_CODES: Final[dict[str, tuple[int | str, ...]]] = {
    "key_manage": (11, 17, 18),
    "heaven_input": ("heaven input too big", 2, 6, 8, 17, 18),
    "purgatory_input": ("purgatory input too big", 2, 9, 13),
    "secret_load": (2,),
    "key_material_copy": (),
    "mtu_size": (2,),
    "p2p_active": (2,),
    "shroud_enable": (),
    "peer_timeout": (),
}
"""What the methods are documented to refuse with."""


class Oops(Exception):  # noqa: N818 - no error of ours
    """Raised by callbacks."""


class End:
    """A context, and what went through it."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self.clock = clock
        suite = FastSuite(random.Random(seed))
        self.context = make_context(Surroundings(suite, clock.monotonic, clock.wall))
        self.peer: End
        self.waiting: list[bytes] = []
        """Packets for the peer."""
        self.sealed: Counter[tuple[bytes, int]] = Counter()
        """What went in, with its number, and how often."""
        self.heard: Counter[tuple[bytes, int]] = Counter()
        self.numbers: set[tuple[Sending, int]] = set()
        self.count = 0
        self.offers = 0
        self.seen: dict[Receiving, set[int]] = {}
        """Numbers that came under each key."""
        self.hears = False
        self.failing = False
        self.answering: Callable[[], object] | None = None
        self._going_in = b""

    def listen(self) -> None:
        """Set the callbacks."""
        self.hears = True
        self.context.purgatory_callback(self._purgatory, 1)
        self.context.heaven_callback(self._heaven, 2)
        self.context.event_callback(self._event, 3)

    def _purgatory(self, context: KYRKA, data: bytes, number: int, udata: Any) -> None:
        assert (context, udata) == (self.context, 1)
        assert len(data) <= context._mtu
        if number:
            sending = context._keys.sending
            assert sending is not None
            assert (sending, number) not in self.numbers
            self.numbers.add((sending, number))
            self.sealed[self._going_in, number] += 1
        else:
            self.offers += 1
        self._react()
        self.waiting.append(data)

    def _heaven(self, context: KYRKA, data: bytes, number: int, udata: Any) -> None:
        assert (context, udata) == (self.context, 2)
        self.heard[data, number] += 1
        assert self.heard[data, number] <= self.peer.sealed[data, number]
        self._react()

    def _event(self, context: KYRKA, event: int | None, info: dict[str, Any], udata: Any) -> None:
        assert (context, udata) == (self.context, 3)
        expected = {None: {"logmsg"}, 1: {"tx", "rx"}, 2: {"reason"}, 3: {"reason"}}
        assert set(info) == expected[event]
        self._react()

    def _react(self) -> None:
        answering, self.answering = self.answering, None
        if answering is not None:
            answering()
        if self.failing:
            raise Oops

    def call(self, name: str, *arguments: Any) -> int | str | None:
        """Call a method as it should be called; what it refuses with, or that a callback failed."""
        try:
            getattr(self.context, name)(*arguments)
        except Oops:
            assert self.failing
            return _FAILED
        except RuntimeError as error:
            refusal = self.refusal(error)
            assert refusal in _CODES[name]
            return refusal
        return None

    def take(self, data: bytes, selector: int = constants.KYRKA_PACKET_SHROUD_PEER) -> None:
        """Receive, and compare with a naive reading where nothing interferes."""
        read, answering = self._read(data), self.answering is not None
        heard, before = self.heard.total(), self.heard[read] if read else 0
        refused = self.call("purgatory_input", data, selector)
        assert (refused == "purgatory input too big") == (len(data) > 1500)
        assert (refused == 2) == (not data)
        if read and not answering and self.hears:
            assert self.heard[read] == before + 1
        if not read and not answering and not self.context._shroud_on:
            assert self.heard.total() == heard

    def _read(self, data: bytes) -> tuple[bytes, int] | None:
        """Data and number of a packet that no shroud is around, and remember that it came."""
        receiving = self.context._keys.receiving
        if receiving is None or self.context._shroud_on or not 50 <= len(data) <= 1500:
            return None
        header, number = data[:32], int.from_bytes(data[8:16], "big")
        if header[:4] + header[16:] != receiving.spi_bytes + bytes(16):
            return None
        seen = self.seen.setdefault(receiving, set())
        if header[4:8] != header[12:16] or number in seen or number <= max(seen, default=1) - 64:
            return None
        try:
            text = receiving._decrypt(nonce(Salt(receiving._salt), number), data[32:], header)
        except InvalidTag:
            return None
        if number:
            seen.add(number)
        return (text[:-2], number) if number and text[-2:] == b"\0\0" else None

    def call_oddly(self, name: str, *arguments: Any, **keywords: Any) -> None:
        """Call a method with anything."""
        self._going_in = bytes(arguments[0]) if arguments and _is_bytes(arguments[0]) else b""
        try:
            getattr(self.context, name)(*arguments, **keywords)
        except (Oops, TypeError):
            pass
        except LocalProtocolError:
            assert name in ("cathedral_configure", "vicar_load")
        except ValueError:
            assert name in _TEXT_CALLS
        except RuntimeError as error:
            self.refusal(error)

    def refusal(self, error: RuntimeError) -> int | str:
        """The code or the text of an error."""
        assert type(error) is RuntimeError
        (argument,) = error.args
        if not isinstance(argument, int):
            for code in (3, 15, 16, 17, 18):
                if argument == f"error '{code}' not found":
                    argument = code
        if isinstance(argument, int):
            assert self.context.last_error() == argument
        assert isinstance(argument, int | str)
        return argument

    def say(self, size: int, selector: int = constants.KYRKA_PACKET_SHROUD_PEER) -> None:
        """Put data in; from four bytes on no other data is the same."""
        self.count += 1
        self._going_in = self.count.to_bytes(4, "big")[-size:].ljust(size, b"\0")[:size]
        expected = self._expected_refusal(size, selector)
        assert self.call("heaven_input", self._going_in, selector) in (expected, _FAILED)

    def _expected_refusal(self, size: int, selector: int) -> int | str | None:
        """Why data of this size can't leave now; ``None`` if it can."""
        context, shrouded = self.context, self.context._shroud_on
        sending, overhead = context._keys.sending, 50 + 49 * shrouded
        for refusal, holds in (
            ("heaven input too big", size > 1500),
            (2, size == 0),
            (8, sending is None),
            (17, shrouded and context._masks.lacks_peer_key),
            (8, sending is not None and self.clock.now >= sending.expires_at),
            (18, size + overhead > context._mtu),
            (17, shrouded and selector == constants.KYRKA_PACKET_SHROUD_CATHEDRAL),
            (6, shrouded and selector != constants.KYRKA_PACKET_SHROUD_PEER),
        ):
            if holds:
                return refusal
        return None

    def manage(self) -> None:
        """Once a second."""
        self.offers = 0
        self.call("key_manage")
        assert self.offers <= _MOST_OFFERS

    def false(self, script: Script) -> bytes:
        """An authentic packet that this context has never sent."""
        sending = self.context._keys.sending
        if sending is None:
            return b"\1" * 60
        number = script.number(script.pick((1, 1, 8)))
        self.count += 1
        data, tail = self.count.to_bytes(4, "big") + script.chunk(100), script.pick(_TAILS)
        header: bytes = sending._spi + (number & 0xFFFF_FFFF).to_bytes(4, "big")
        header += number.to_bytes(8, "big") + sending._flocks
        if tail == b"\0\0":
            self.sealed[data, number] += 1
        sealed: bytes = sending._encrypt(nonce(Salt(sending._salt), number), data + tail, header)
        return header + sealed


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray | memoryview | array.array)
