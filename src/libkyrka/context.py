"""The context: one end of a tunnel, fed with packets and driven by :meth:`KYRKA.key_manage`.

Nothing happens by itself: no socket, no thread, no timer. What a context has to say it says by
callbacks, which run inside the call that caused them. An exception in one leaves that call as it
is, and the context as if the callback had returned; offers that were still to be sent in the call
are lost, as they might be on their way (they are repeated each second).

A context isn't for several threads at once.
"""

from __future__ import annotations

import os
import weakref
from operator import index
from typing import Self, SupportsIndex

from chancel.errors import RemoteProtocolError
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.datagram import Kind as Datagram
from chancel.wire.datagram import classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.offer import OFFER_BYTES
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Buffer
from libkyrka import arguments
from libkyrka.cathedral import CathedralCalls
from libkyrka.constants import (
    KYRKA_ERROR_MTU_SIZE,
    KYRKA_ERROR_NO_RX_KEY,
    KYRKA_ERROR_NO_SECRET,
    KYRKA_ERROR_NO_TX_KEY,
    KYRKA_ERROR_PARAMETER,
    KYRKA_ERROR_SHROUD_NO_KEYS,
    KYRKA_PACKET_DATA_LEN,
    KYRKA_PACKET_MAX_LEN,
    KYRKA_PACKET_SHROUD_CATHEDRAL,
    KYRKA_PACKET_SHROUD_PEER,
)
from libkyrka.material import Kind
from libkyrka.notices import keys_erased, log
from libkyrka.receiving import Receiving
from libkyrka.surroundings import Surroundings

_SEEN_BEFORE = {Drop.DUPLICATE: "already seen", Drop.TOO_OLD: "too old"}

_CONTEXTS: weakref.WeakSet[KYRKA] = weakref.WeakSet()


class KYRKA(CathedralCalls):
    """One tunnel. Made by :func:`libkyrka.alloc` alone.

    Methods raise ``RuntimeError`` with an error code where the reference does, ``TypeError`` for
    arguments of the wrong kind, and ``LocalProtocolError`` in the child of a fork.
    """

    __slots__ = ("_monotonic",)

    def __new__(cls) -> Self:
        """Refuse: :func:`libkyrka.alloc` makes contexts."""
        raise TypeError(f"cannot create '{cls.__name__}' instances")

    def _open(self, surroundings: Surroundings) -> None:
        super()._open(surroundings)
        self._monotonic = surroundings.monotonic
        _CONTEXTS.add(self)

    def __repr__(self) -> str:
        send_spi, receive_spi = self._keys.spis
        return f"<KYRKA tx={send_spi:08x} rx={receive_spi:08x}>"

    def heaven_input(
        self, data: Buffer, destination: SupportsIndex = KYRKA_PACKET_SHROUD_PEER, /
    ) -> bool:
        """Seal 1 to 1500 bytes of data and hand the packet to the purgatory callback.

        ``destination`` says whose shroud goes around it, if shroud is on. Raises ``RuntimeError``:
        a text (over 1500 bytes), 2 (no data), 8 (no key yet, or it just expired), 6 (destination),
        and with a text of their own 17 (no shroud key) and 18 (over the MTU).
        """
        if type(data) is not bytes:
            data = arguments.buffer(data).tobytes()
        if type(destination) is not int:
            destination = index(destination)
        sending = self._sending
        if (
            sending is None
            or not 0 < len(data) <= self._room
            or self._monotonic() >= sending.expires_at
        ):
            raise self._why_not(len(data))
        sealed = sending.seal(data)
        if sealed is None:
            raise self._sending_expired()
        packet, number = sealed
        if self._shroud_on:
            packet = self._shrouded(packet, destination)
        if self._on_purgatory is not None:
            callback, udata = self._on_purgatory
            callback(self, packet, number, udata)
        return True

    def purgatory_input(
        self, data: Buffer, origin: SupportsIndex = KYRKA_PACKET_SHROUD_PEER, /
    ) -> bool:
        """Take a received datagram; the data in it goes to the heaven callback.

        ``origin`` says whose shroud to take off, if shroud is on. A datagram that is wrong in any
        way is counted (:meth:`drops`), without a word. Raises ``RuntimeError``: a text (over 1500
        bytes), 2 (empty), 9 (no key yet), 13 (from a cathedral: none is configured, or its secret
        or, for an ambry, the KEK is missing).
        """
        if type(data) is not bytes:
            data = arguments.buffer(data).tobytes()
        if type(origin) is not int:
            origin = index(origin)
        receiving = self._receiving
        if (
            receiving is None
            or data[:4] != receiving.spi_bytes
            or not OVERHEAD_BYTES <= len(data) <= KYRKA_PACKET_DATA_LEN
        ):
            traffic = self._sort_untrusted(data, origin)
            if traffic is None:
                return True
            receiving, data = traffic
        try:
            payload, number = receiving.open_untrusted(data)
        except RemoteProtocolError as error:
            self._drop(error.reason, data)
            return True
        if self._on_heaven is not None:
            callback, udata = self._on_heaven
            callback(self, payload, number, udata)
        return True

    def key_manage(self) -> bool:
        """Do what the key exchange has to do now. Call it once a second, or more often.

        Raises ``RuntimeError``: 11 (no shared secret), and with a text of their own 17 (no shroud
        key towards the cathedral) and 18 (a shrouded offer is larger than the MTU).
        """
        self.check_process()
        if Kind.SHARED not in self._material:
            raise self._refuse(KYRKA_ERROR_NO_SECRET)
        self._require_room_for_offers()
        if self._shroud_on:
            self._renew_mask(KYRKA_PACKET_SHROUD_PEER)
        selector = KYRKA_PACKET_SHROUD_PEER if self._p2p else KYRKA_PACKET_SHROUD_CATHEDRAL
        offers = self._keys.manage()
        self._prepare()
        for offer in offers:
            packet = self._shrouded(offer, selector)
            if self._on_purgatory is not None:
                callback, udata = self._on_purgatory
                callback(self, packet, 0, udata)
        self._tell()
        return True

    def peer_timeout(self) -> bool:
        """Erase both keys, because the program thinks that the peer is gone."""
        self._keys.erase()
        self._prepare()
        self._say(keys_erased())
        return True

    def mtu_size(self, size: SupportsIndex, /) -> bool:
        """Set the largest packet to hand to the purgatory callback: 623 to 1628 bytes, else 2."""
        mtu = index(size)
        if not OFFER_BYTES <= mtu <= KYRKA_PACKET_MAX_LEN:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        self._mtu = mtu
        self._prepare()
        return True

    def shroud_enable(self) -> bool:
        """Mask every packet from now on. Needs an MTU of at least 672."""
        self._shroud_on = True
        self._prepare()
        return True

    def p2p_active(self, active: SupportsIndex, /) -> bool:
        """Set whether offers go to the peer directly (1) or through a cathedral (0), else 2."""
        value = index(active)
        if value not in (0, 1):
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        self._p2p = bool(value)
        return True

    def drops(self) -> dict[str, int]:
        """How many received datagrams were dropped, by reason."""
        return {str(reason): count for reason, count in (self._drops + self._keys.drops).items()}

    def _why_not(self, size: int) -> Exception:
        """The exception for data of this size that can't be sent now."""
        self.check_process()
        sending = self._sending
        if size > KYRKA_PACKET_DATA_LEN:
            return RuntimeError("heaven input too big")
        if size == 0:
            return self._refuse(KYRKA_ERROR_PARAMETER)
        if sending is None:
            return self._refuse(KYRKA_ERROR_NO_TX_KEY)
        if self._shroud_on and self._masks.lacks_peer_key:
            return self._refuse(KYRKA_ERROR_SHROUD_NO_KEYS)
        if self._monotonic() >= sending.expires_at:
            return self._sending_expired()
        return self._refuse(KYRKA_ERROR_MTU_SIZE)

    def _sending_expired(self) -> RuntimeError:
        notice = self._keys.expire_sending()
        self._prepare()
        if notice is not None:
            self._say(notice)
        return self._refuse(KYRKA_ERROR_NO_TX_KEY)

    def _sort_untrusted(self, datagram: bytes, origin: int) -> tuple[Receiving, bytes] | None:
        """Take everything that isn't plainly traffic under our key; returns what turns out to be,
        and the key.
        """
        self.check_process()
        if len(datagram) > KYRKA_PACKET_DATA_LEN:
            raise RuntimeError("purgatory input too big")
        if not datagram:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        try:
            datagram = self._unshrouded_untrusted(datagram, origin)
            kind = classify_untrusted(datagram)
        except RemoteProtocolError as error:
            self._drops[error.reason] += 1
            return None
        if kind is Datagram.OFFER:
            self._receive_offer(datagram)
            return None
        if datagram.startswith(CATHEDRAL.magic):
            self._receive_answer_untrusted(datagram)
            return None
        receiving = self._keys.receiving
        if receiving is None:
            raise self._refuse(KYRKA_ERROR_NO_RX_KEY)
        if not datagram.startswith(receiving.spi_bytes):
            self._drops[Drop.UNKNOWN_SPI] += 1
            return None
        return receiving, datagram

    def _receive_offer(self, offer: bytes) -> None:
        logged = self._keys.receive(offer)
        self._prepare()
        self._tell()
        for notice in logged:
            self._say(notice)

    def _drop(self, reason: Drop, datagram: bytes) -> None:
        self._drops[reason] += 1
        if reason in _SEEN_BEFORE:
            number = int.from_bytes(datagram[8:16], "big")
            self._say(log(f"packet seq={number:x} {_SEEN_BEFORE[reason]}"))

    def _forked(self) -> None:
        """In the child of a fork: without keys nothing can be sealed."""
        self._keys.erase()
        self._prepare()


def make_context(surroundings: Surroundings) -> KYRKA:
    """Make a context; a program calls :func:`libkyrka.alloc`."""
    context = object.__new__(KYRKA)
    context._open(surroundings)
    return context


def _forked() -> None:
    for context in list(_CONTEXTS):
        context._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
