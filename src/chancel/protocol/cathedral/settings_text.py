"""The settings file of a cathedral: text in, what could be read and all that is wrong with it out.

The grammar is the reference's (cathedral section 3.3), which skips a line that it doesn't
understand::

    federate <ipv4> <port>
    flock <hex flock> {
        allow <hex identity> spi <hex device id> <mbit>
        ambry <path>
    }
    xflock <hex flock> <hex flock> <path>

What that one gets wrong is right here: blanks at the end of a line mean nothing, and a flock within
a flock is ignored as a whole, instead of giving its devices to the outer one. What works by
accident there, or silently doesn't, is a problem here.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable
from typing import Final

from chancel.errors import ConfigError
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.settings import (
    MAX_FEDERATION,
    Allow,
    FlockSettings,
    Pair,
    Settings,
    pair,
)
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId

MAX_LINE_BYTES: Final = 255
"""The reference reads the rest of a longer line as the next one."""

MAX_MBIT: Final = 1_000_000
"""A terabit per second."""

MAX_SHOWN_CHARS: Final = 60
"""How much of a value a message repeats."""

_BLANKS: Final = " \t\r\v\f"
_HEX: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]+)")
_DECIMAL: Final = re.compile(r"[0-9]{1,10}")
_DOMAIN_BITS: Final = 0xFF

LoadBundle = Callable[["BundleFile"], Bundle | None]


@dataclasses.dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle that a line names: for one flock twice, or for two."""

    path: str
    flocks: tuple[FlockId, FlockId]
    line: int


@dataclasses.dataclass(slots=True)
class FlockDraft:
    """The block of one flock."""

    id: FlockId
    allows: list[Allow] = dataclasses.field(default_factory=list)
    bundle: BundleFile | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """What a file says. Whoever doesn't tolerate its ``problems`` must not use it."""

    flocks: tuple[FlockDraft, ...]
    xflocks: dict[Pair, BundleFile]
    federation: tuple[Address, ...]
    problems: tuple[ConfigError, ...]

    def settings(self, load: LoadBundle) -> Settings:
        """Return the settings, with bundles as ``load`` returns them; it may raise anything."""
        flocks = {
            draft.id: FlockSettings(
                draft.id, tuple(draft.allows), load(draft.bundle) if draft.bundle else None
            )
            for draft in self.flocks
        }
        xflocks = {key: load(file) for key, file in self.xflocks.items()}
        return Settings(flocks, xflocks, self.federation)


def parse(text: str, name: str, own: Address | None = None) -> Draft:
    """Read the text of a settings file called ``name``; raises nothing.

    ``own`` is the cathedral's own address, which is left out of the federation.
    """
    reader = _Reader(name, own)
    for number, whole in enumerate(text.split("\n"), start=1):
        line = whole.strip(_BLANKS).replace("\t", " ")
        if line and not line.startswith("#"):
            reader.take(number, line, len(whole.encode(errors="surrogateescape")))
    return reader.finish()


class _Refused(Exception):  # noqa: N818 - internal: becomes a ConfigError with its place
    """What is wrong with a line."""


class _Reader:
    """One file, line by line."""

    def __init__(self, name: str, own: Address | None) -> None:
        self._name = name
        self._own = own
        self._flocks: dict[FlockId, FlockDraft] = {}
        self._xflocks: dict[Pair, BundleFile] = {}
        self._federation: list[Address] = []
        self._problems: list[ConfigError] = []
        self._block: FlockDraft | None = None
        self._opened_at = 0
        self._skipping = False
        self._line = 0
        self._outside = {"flock": self._flock, "federate": self._federate, "xflock": self._xflock}
        self._inside = {"allow": self._allow, "ambry": self._ambry}

    def take(self, number: int, line: str, size: int) -> None:
        """Read one line that says something; ``size`` is what it takes in the file, in bytes."""
        self._line = number
        keyword, _, rest = line.partition(" ")
        try:
            if size > MAX_LINE_BYTES:
                raise _Refused(f"a line of {size} bytes (expected at most {MAX_LINE_BYTES})")
            if self._skipping:
                self._skipping = line != "}"
            elif line == "}":
                self._close()
            else:
                self._handler(keyword)(rest.strip(" "))
        except _Refused as refused:
            self._problem(refused, keyword)
            self._skipping = self._skipping or keyword == "flock"

    def finish(self) -> Draft:
        """The end of the file."""
        if self._block is not None:
            self._line = self._opened_at
            self._problem(_Refused("the block is never closed (expected } on a line)"), "flock")
        # The reference puts each new entry in front of the others.
        federation = tuple(reversed(self._federation))
        flocks = tuple(self._flocks.values())
        return Draft(flocks, self._xflocks, federation, tuple(self._problems))

    def _problem(self, refused: _Refused, keyword: str) -> None:
        known = keyword if keyword in (*self._outside, *self._inside) else None
        self._problems.append(ConfigError(self._name, self._line, known, str(refused)))

    def _handler(self, keyword: str) -> Callable[[str], None]:
        here, there = self._outside, self._inside
        if self._block is not None:
            here, there = there, here
        if keyword in here:
            return here[keyword]
        if keyword == "flock":
            outer = f"the flock in line {self._opened_at}"
            raise _Refused(f"stands within {outer}, so its block is ignored (expected }} before)")
        if keyword in there:
            where = "outside" if self._block else "inside"
            raise _Refused(f"out of place (expected {where} the block of a flock)")
        raise _Refused(f"unknown keyword {quoted(keyword)} (expected {', '.join(here)})")

    def _close(self) -> None:
        if self._block is None:
            raise _Refused("a } that closes nothing (expected flock FLOCK { before it)")
        self._block = None

    def _flock(self, rest: str) -> None:
        words = rest.split()
        if not words or words[1:] not in ([], ["{"]):
            raise _Refused(f"malformed {quoted(rest)} (expected FLOCK {{)")
        flock = FlockId(_hexadecimal(words[0], 64) & ~_DOMAIN_BITS)
        if flock == 0:
            raise _Refused(f"{quoted(words[0])} is all domain (expected more than 8 bits)")
        if flock in self._flocks:
            raise _Refused(f"flock {flock:x} once more (expected one block for each)")
        self._block = self._flocks[flock] = FlockDraft(flock)
        self._opened_at = self._line

    def _allow(self, rest: str) -> None:
        match rest.split():
            case [identity, "spi", device, mbit]:
                allow = Allow(
                    CathedralId(_hexadecimal(identity, 32)),
                    _hexadecimal(device, 8),
                    _decimal(mbit, 0, MAX_MBIT),
                )
            case _:
                raise _Refused(f"malformed {quoted(rest)} (expected IDENTITY spi DEVICE MBIT)")
        if not allow.identity or not allow.device:
            raise _Refused("an identity or device of 0 (expected 1 and more)")
        assert self._block is not None
        if any(known[:2] == allow[:2] for known in self._block.allows):
            raise _Refused(f"{identity} with device {device} once more (expected each pair once)")
        self._block.allows.append(allow)

    def _ambry(self, rest: str) -> None:
        assert self._block is not None
        if not rest:
            raise _Refused("no file given (expected PATH)")
        if self._block.bundle is not None:
            raise _Refused("a second bundle for this flock (expected one)")
        flock = self._block.id
        self._block.bundle = BundleFile(rest, (flock, flock), self._line)

    def _xflock(self, rest: str) -> None:
        words = rest.split(maxsplit=2)
        if len(words) != 3:
            raise _Refused(f"malformed {quoted(rest)} (expected FLOCK FLOCK PATH)")
        one, other = (FlockId(_hexadecimal(word, 64)) for word in words[:2])
        for flock in (one, other):
            if flock & _DOMAIN_BITS:
                raise _Refused(f"flock {flock:x} has a domain (expected 00 at its end)")
            if flock not in self._flocks:
                raise _Refused(f"flock {flock:x} is not defined above (expected its block before)")
        if one == other:
            raise _Refused(f"flock {one:x} with itself (expected two)")
        key = pair(one, other)
        if key in self._xflocks:
            raise _Refused(f"flocks {one:x} and {other:x} once more (expected each pair once)")
        self._xflocks[key] = BundleFile(words[2], key, self._line)

    def _federate(self, rest: str) -> None:
        match rest.split():
            case [host, port]:
                address = Address(_ipv4(host), _decimal(port, 1, 0xFFFF))
            case _:
                raise _Refused(f"malformed {quoted(rest)} (expected IPV4 PORT)")
        if address == self._own:
            return
        if address in self._federation:
            raise _Refused(f"{address} once more (expected each cathedral once)")
        if len(self._federation) == MAX_FEDERATION:
            raise _Refused(f"too many cathedrals (expected at most {MAX_FEDERATION} others)")
        self._federation.append(address)


def quoted(text: str) -> str:
    """``text`` in quotes, fit for one line of a terminal: escaped, and cut when it is long."""
    shown = text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"
    return repr(shown) if shown.isprintable() else ascii(shown)


def _hexadecimal(text: str, bits: int) -> int:
    match = _HEX.fullmatch(text)
    if match is None or int(match[1], 16) >> bits:
        raise _Refused(f"{quoted(text)} is no hexadecimal number (expected one of {bits} bits)")
    return int(match[1], 16)


def _decimal(text: str, lowest: int, highest: int) -> int:
    if not _DECIMAL.fullmatch(text) or not lowest <= int(text) <= highest:
        raise _Refused(f"{quoted(text)} is out of range (expected {lowest} to {highest})")
    return int(text)


def _ipv4(text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise _Refused(f"{quoted(text)} is no IPv4 address (expected 192.0.2.1)") from None
    if int(address) == 0:
        raise _Refused("nothing can be sent to 0.0.0.0 (expected the cathedral's address)")
    return str(address)
