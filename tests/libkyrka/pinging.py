"""A program with the module ``libkyrka`` that pings through a tunnel, without a device."""

from __future__ import annotations

import select
import socket
import struct
import time

import libkyrka

OWN, PEER = "10.77.0.2", "10.77.0.1"
LIMIT_S = 30.0
PORT = 2333

_IP = struct.Struct("!BBHHHBBH4s4s")
_ICMP = struct.Struct("!BBHHH")
_REQUEST, _REPLY = 8, 0


def ping(own: str, peer: str, secret: str, count: int) -> int:
    """Bring a tunnel up between these outer addresses, then ping; how many replies came back."""
    replies: set[int] = set()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((own, PORT))
        context = libkyrka.alloc()
        context.secret_load(bytes.fromhex(secret))
        context.heaven_callback(lambda _, packet, __, ___: replies.add(_sequence(packet)), None)
        context.purgatory_callback(lambda _, data, __, ___: sock.sendto(data, (peer, PORT)), None)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and not replies >= set(range(count)):
            if select.select([sock], [], [], 0.2)[0]:
                context.purgatory_input(sock.recv(1500))
            else:
                _request_missing(context, set(range(count)) - replies)
            context.key_manage()
    return len(replies & set(range(count)))


def _request_missing(context: libkyrka.KYRKA, missing: set[int]) -> None:
    for sequence in sorted(missing):
        try:
            context.heaven_input(_request(sequence))
        except RuntimeError as error:
            if error.args != (libkyrka.KYRKA_ERROR_NO_TX_KEY,):
                raise


def _request(sequence: int) -> bytes:
    def echo(checksum: int) -> bytes:
        return _ICMP.pack(_REQUEST, 0, checksum, 1, sequence) + bytes(56)

    def header(checksum: int) -> bytes:
        addresses = socket.inet_aton(OWN), socket.inet_aton(PEER)
        size = _IP.size + _ICMP.size + 56
        return _IP.pack(0x45, 0, size, 0, 0, 64, socket.IPPROTO_ICMP, checksum, *addresses)

    return header(_checksum(header(0))) + echo(_checksum(echo(0)))


def _sequence(packet: bytes) -> int:
    """The sequence number of a reply; -1 for another packet."""
    kind, *_, sequence = _ICMP.unpack_from(packet, _IP.size)
    return int(sequence) if kind == _REPLY else -1


def _checksum(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    return 0xFFFF - sum(words) % 0xFFFF
