"""A member of a liturgy: asks a cathedral again and again who else is there (cathedral section 7).

Devices of one flock and one group find each other: *discovering*, each is told of all; *signaling*,
of those that it wants or that want it. *Hidden* ones are told only of those that aren't. An answer
says who has asked within the last two minutes. It is sealed under the cathedral secret and not
signed by any member: a bad cathedral can say that somebody is there who isn't, or hide somebody,
and no more; who can't make keys with us gets none.

An answer is taken only after a question, so nobody makes members come and go faster than we ask.
That somebody isn't named any more may have a dozen reasons: whoever is told decides by the traffic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Final

from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.asker import Asker
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.registration_pace import INFO_INTERVAL_S, INFO_SPACING_S
from chancel.protocol.registration_types import CathedralChosen, Registrant, StoreRemembrance
from chancel.wire.cathedral import CATHEDRAL, Answer
from chancel.wire.drop import Drop
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, Buffer

DEVICES: Final = range(1, PEERS_BYTES)
"""The devices that an answer can name: 255 has no place in it."""

_DEVICE_SHIFT = 8


@dataclasses.dataclass(frozen=True, slots=True)
class MemberCame:
    """This device is there, says the cathedral."""

    device: int
    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class MemberLeft:
    """This device is not named any more. It may be there all the same."""

    device: int
    at: float


LiturgyCommand = MemberCame | MemberLeft | CathedralChosen | StoreRemembrance


class Liturgy(Asker[LiturgyCommand]):
    """One device's part in a liturgy.

    Feed it the datagrams of a cathedral's kind (:meth:`receive`); call :meth:`wake` when
    :meth:`wake_at` has come, which may be at once after any method. Take :meth:`datagrams` for the
    socket and :meth:`commands`. ``drops`` counts what was refused.
    """

    def __init__(
        self,
        suite: Suite,
        registrant: Registrant,
        cathedrals: Sequence[Address],
        now: float,
        wall: float,
        *,
        group: int = 0,
        hidden: bool = False,
        wanted: Iterable[int] | None = None,
        behaviour: Behaviour = CHANCEL,
    ) -> None:
        """``registrant.tunnel`` has our own device in its high byte, and nothing else.

        ``wanted`` devices make it a signaling one; ``None``: it discovers. ``cathedrals`` may be
        empty until their names are resolved. Raises ``LocalProtocolError`` where a number can't be
        right.
        """
        if registrant.tunnel & 0xFF or not 0 <= group < 1 << 16:
            raise LocalProtocolError(
                "a member of a liturgy has its device in the high byte of its tunnel, 0 in the"
                " low one, and a group of 16 bits"
            )
        super().__init__(suite, registrant, now, wall, behaviour)
        self._device = registrant.tunnel >> _DEVICE_SHIFT
        self._group = group
        self._hidden = hidden
        self._wanted = None if wanted is None else _wanted(wanted)
        self._members: frozenset[int] = frozenset()
        self._answered_at: float | None = None
        self._asked_at = -math.inf
        self._ask_at = now
        self._awaiting = False
        self.resolved(cathedrals, now)

    def __repr__(self) -> str:
        return f"<Liturgy of {len(self._members)} at {self._client!r}>"

    @property
    def members(self) -> frozenset[int]:
        """The devices that are there, by the last answer."""
        return self._members

    @property
    def answered_at(self) -> float | None:
        """When the last answer came, whoever it named; ``None`` before the first."""
        return self._answered_at

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted, unmasked datagram of a cathedral's kind; what is wrong is counted."""
        try:
            body = self._client.open_untrusted(datagram, source, now, wall)
            answer, sign = isinstance(body, LiturgyBody), isinstance(body, RemembranceBody)
            self._client.heard(now, answer=answer, sign=sign)
            self._take_untrusted(body, now)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1

    def want(self, devices: Iterable[int], now: float) -> None:
        """From now on these are wanted. Raises ``LocalProtocolError`` for one that can't be."""
        wanted = _wanted(devices)
        if wanted != self._wanted:
            self._wanted = wanted
            self._ask_at = min(self._ask_at, now)

    def network_changed(self, now: float) -> None:
        """Our own address may have changed, or we may have slept."""
        self._ask_at = min(self._ask_at, now)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        if self._go_on(now, wall):
            self.network_changed(now)
        if self.cathedral is not None and now >= self._due_at():
            self._ask(self.cathedral, now, wall)

    def _take_untrusted(self, body: Answer, now: float) -> None:
        match body:
            case LiturgyBody(group=group, peers=peers):
                if group != self._group:
                    raise RemoteProtocolError(Drop.LITURGY_GROUP)
                if not self._awaiting:
                    raise RemoteProtocolError(Drop.OFFER_UNEXPECTED)
                self._awaiting = False
                self._answered_at = now
                self._told_untrusted(peers, now)
            case RemembranceBody(cathedrals=cathedrals):
                if (store := self._client.remember_untrusted(cathedrals, now)) is not None:
                    self._commands.append(store)
            case _:
                raise RemoteProtocolError(Drop.OFFER_TYPE)

    def _told_untrusted(self, peers: bytes, now: float) -> None:
        """Bytes that are neither 0 nor 1 say nothing, as in the reference."""
        others = [device for device in DEVICES if device != self._device]
        came = [each for each in others if peers[each] == 1 and each not in self._members]
        left = [each for each in others if peers[each] == 0 and each in self._members]
        self._commands += [MemberCame(each, now) for each in came]
        self._commands += [MemberLeft(each, now) for each in left]
        self._members = self._members.union(came).difference(left)

    def _due_at(self) -> float:
        """When the next question is due. A cathedral answers one in three seconds."""
        soonest = self._asked_at + INFO_SPACING_S
        return soonest if self._client.hurries else max(self._ask_at, soonest)

    def _ask(self, cathedral: Address, now: float, wall: float) -> None:
        self._asked_at = now
        self._ask_at = now + INFO_INTERVAL_S
        body = LiturgyBody(
            self._device,
            self._group,
            bytes(PEERS_BYTES) if self._wanted is None else self._wanted,
            hidden=self._hidden,
            wants_remembrance=self._client.wants_remembrance,
            signaling=self._wanted is not None,
        )
        try:
            self._client.ask([(CATHEDRAL, cathedral)], body, now, wall)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
            return
        self._awaiting = True
        self._client.silence.asked(now)

    def _choose(self, cathedral: Address, now: float) -> None:
        self._awaiting = False
        self._asked_at = -math.inf
        self._ask_at = now
        self._commands.append(CathedralChosen(cathedral, now))


def _wanted(devices: Iterable[int]) -> bytes:
    """The devices as bytes. Raises ``LocalProtocolError``."""
    chosen = frozenset(devices)
    if not chosen <= frozenset(DEVICES):
        raise LocalProtocolError("a device that is wanted has a number from 1 to 254")
    return bytes(each in chosen for each in range(PEERS_BYTES))
