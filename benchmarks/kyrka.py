"""The module ``libkyrka``, packet by packet, against the reference's own Python module.

Both run in this process and turn by turn, each driven by the same loop: seal 1,300 bytes and keep
the packet that the callback gets; then hand each packet to the other end and keep its data. No
socket is involved, so nothing but the module is measured; in CPU time, as no other thread runs.

The reference takes part with KYRKA=/path/to/a/clone in which ``make python-mod LDFLAGS=-lsodium``
was run. Its module has no way to set the MTU, without which it sends nothing: so the C function is
called on the context inside its object.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import libkyrka
from benchmarks.result import Figure, LeftOut, Result, Target

BYTES = 1300
PACKETS = 2000
ROUNDS = 60
WARM_UP = 5
LIMIT_S = 30.0
MTU = 1472
TARGET = Target("≥", 0.7)
CONTEXT_OFFSET = 16
"""Where in an object of the reference, behind the header of any object, the C context stands."""
BUILD = (
    "make python-mod LDFLAGS=-lsodium in a clone of it; then make bench KYRKA=/path/to/the/clone"
)


class Times(NamedTuple):
    """CPU microseconds for each packet."""

    seal: float
    open: float


class Tunnel:
    """Two contexts of one module, brought up on the real clock that both modules read."""

    def __init__(self, left: Any, right: Any) -> None:
        self._left, self._right = left, right
        self._sent: dict[Any, list[bytes]] = {left: [], right: []}
        self._heard: list[bytes] = []
        for context, sent in self._sent.items():
            context.secret_load(bytes(range(32)))
            context.purgatory_callback(_into(sent), None)
            context.heaven_callback(_into(self._heard), None)
        deadline = time.monotonic() + LIMIT_S
        while not (_can_send(left) and _can_send(right)):
            if time.monotonic() > deadline:
                raise RuntimeError("the tunnel did not come up")
            time.sleep(0.2)
            for context in self._sent:
                context.key_manage()
            self._carry()

    def _carry(self) -> None:
        packets = [list(sent) for sent in self._sent.values()]
        for sent in self._sent.values():
            sent.clear()
        for receiver, datagrams in zip((self._right, self._left), packets, strict=True):
            for datagram in datagrams:
                receiver.purgatory_input(datagram, libkyrka.KYRKA_PACKET_SHROUD_PEER)

    def measure(self) -> Times:
        """Send packets from left to right."""
        send, receive = self._left.heaven_input, self._right.purgatory_input
        sent, data, selector = (
            self._sent[self._left],
            bytes(BYTES),
            libkyrka.KYRKA_PACKET_SHROUD_PEER,
        )
        sent.clear()
        self._heard.clear()
        start = time.process_time()
        for _ in range(PACKETS):
            send(data, selector)
        sealed = time.process_time()
        for datagram in sent:
            receive(datagram, selector)
        opened = time.process_time()
        if len(self._heard) != PACKETS:
            raise RuntimeError(f"{PACKETS - len(self._heard)} packets were lost")
        return Times((sealed - start) / PACKETS * 1e6, (opened - sealed) / PACKETS * 1e6)


def run() -> Iterator[Result]:
    """CPU microseconds per packet of each module; the rate of ours as a multiple of the other's."""
    tunnels = {"libkyrka": Tunnel(libkyrka.alloc(), libkyrka.alloc())}
    module = _reference_module()
    if module is not None:
        tunnels["reference"] = Tunnel(_usable(module), _usable(module))
    rounds: dict[str, list[Times]] = {name: [] for name in tunnels}
    for _ in range(WARM_UP + ROUNDS):
        for name, tunnel in tunnels.items():
            rounds[name].append(tunnel.measure())
    samples = {name: times[WARM_UP:] for name, times in rounds.items()}
    for name, times in samples.items():
        yield Figure(f"heaven_input, 1,300 B: {name}", "µs CPU", [each.seal for each in times])
        yield Figure(f"purgatory_input, 1,300 B: {name}", "µs CPU", [each.open for each in times])
    if module is None:
        yield LeftOut("reference module", BUILD)
        return
    pairs = zip(samples["libkyrka"], samples["reference"], strict=True)
    ratios = [sum(theirs) / sum(ours) for ours, theirs in pairs]
    yield Figure("packets/s, sealed and opened: libkyrka / reference", "times", ratios, TARGET)


def _into(taken: list[bytes]) -> Any:
    def callback(_context: object, data: bytes, _number: int, _udata: object) -> None:
        taken.append(data)

    return callback


def _can_send(context: Any) -> bool:
    try:
        context.heaven_input(b"x", libkyrka.KYRKA_PACKET_SHROUD_PEER)
    except RuntimeError:
        return False
    return True


def _module_path() -> Path | None:
    clone = os.environ.get("KYRKA")
    path = Path(clone or "", "obj", "python", "libkyrka.so")
    return path if clone and path.is_file() else None


def _reference_module() -> Any:
    """The reference's module, which has the name of ours, or ``None``."""
    path = _module_path()
    spec = importlib.util.spec_from_file_location("libkyrka", path) if path else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _usable(module: Any) -> Any:
    """A context of the reference that has an MTU."""
    context = module.alloc()
    pointer = ctypes.c_void_p.from_address(id(context) + CONTEXT_OFFSET)
    if ctypes.CDLL(module.__file__).kyrka_mtu_size(pointer, ctypes.c_uint16(MTU)) != 0:
        raise RuntimeError("the reference refused its MTU")
    return context
