"""The changes to a configuration that have a command; each says what was done, in the reference's
words.

All raise :class:`ConfigError`, and nothing is written then.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from chancel.daemon import config_values as values
from chancel.errors import ConfigError
from chancel.tools.hymn import grammar
from chancel.tools.hymn.document import Document
from chancel.tools.hymn.hymnal import Hymnal
from chancel.tools.hymn.tunnel import Tunnel

RESTART = "tunnel modified, please restart it"


def set_mtu(hymnal: Hymnal, word: str, text: str) -> str:
    """A number of bytes, or ``auto``."""
    mtu = grammar.read("mtu", grammar.mtu, text)
    shown = "auto" if mtu is None else str(mtu)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        tunnel = _to_somebody(document, path, "mtu")
        if document.values("tunnel"):
            document.set("tunnel", f"{tunnel.address} {shown}")
        elif mtu is not None:
            document.set("tunnel", f"0.0.0.0/0 {shown}")
    return f"{path.stem} mtu changed to {shown}"


def set_nat_port(hymnal: Hymnal, word: str, text: str) -> str:
    """A port of the cathedral for NAT detection, or 0 for none."""
    port = grammar.read("nat", grammar.nat_port, text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        _require_cathedral(document, path)
        document.set("cathedral_nat_port", str(port))
    return f"{path.stem} nat has been turned {'on' if port else 'off'}"


def set_label(hymnal: Hymnal, word: str, text: str) -> str:
    """A name for people, which no other tunnel here has."""
    label = grammar.read("name", grammar.label, text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        hymnal.refuse_taken(label, path)
        document.set("descr", label)
    return f"{path.stem} name updated to '{label}'"


def set_shroud(hymnal: Hymnal, word: str, text: str) -> str:
    """``on`` or ``off``."""
    is_on = _switch("shroud", text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        _set_or_remove(document, "shroud", "yes" if is_on else None)
    return f"{path.stem} shroud has been turned {text}"


def set_bridge(hymnal: Hymnal, word: str, words: Sequence[str]) -> str:
    """``on BRIDGE``, or ``clear``."""
    match words:
        case ["on", name]:
            bridge: str | None = grammar.read("bridge", grammar.bridge, name)
        case ["clear"]:
            bridge = None
        case _:
            raise ConfigError("bridge", None, None, "what? (expected on BRIDGE, or clear)")
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        if not Tunnel.of(document, path).tap:
            raise ConfigError(
                str(path), None, "bridge", "its device is no tap (expected a line: tap yes)"
            )
        _set_or_remove(document, "bridge", bridge)
    done = "bridged cleared" if bridge is None else f"bridged onto {bridge}"
    return f"tunnel {path.stem} {done}"


def set_cathedral(hymnal: Hymnal, word: str, text: str) -> str:
    """``HOST:PORT``; of a tunnel with a cathedral."""
    cathedral = grammar.read("cathedral", grammar.cathedral, text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        _require_cathedral(document, path)
        document.set("cathedral", cathedral)
    return f"{path.stem} cathedral modified to {cathedral}"


def set_remembrance(hymnal: Hymnal, word: str, text: str) -> str:
    """``on`` or ``off``: whether other cathedrals are remembered, in a file beside this one."""
    is_on = _switch("remembrance", text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        _require_cathedral(document, path)
        if not is_on:
            document.remove("cathedral_remembrance")
        elif not document.values("cathedral_remembrance"):
            document.set("cathedral_remembrance", str(path.with_suffix(".remembrance")))
    return (
        f"{path.stem} remembrance turned {text}\nrestart the tunnel for the change to take effect"
    )


def add_network(hymnal: Hymnal, word: str, kind: str, text: str) -> str:
    """``kind`` is ``route``, which is accepted as well, or ``accept``."""
    network = _network(kind, text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        _require_networks(document, path, kind)
        if _stands(document, kind, network):
            problem = f"{kind} {network} exists (expected another network)"
            raise ConfigError(str(path), None, None, problem)
        for each in dict.fromkeys((kind, "accept")):
            if not _stands(document, each, network):
                document.add(each, str(network))
    return RESTART


def remove_network(hymnal: Hymnal, word: str, kind: str, text: str) -> str:
    """The reverse of :func:`add_network`. One that isn't there is an error."""
    network = _network(kind, text)
    path = hymnal.find(word)
    with hymnal.editing(path) as document:
        _require_networks(document, path, kind)
        if not _stands(document, kind, network):
            problem = f"no {kind} {network} (expected one of its lines)"
            raise ConfigError(str(path), None, None, problem)
        for each in dict.fromkeys((kind, "accept")):
            document.remove(each, lambda value: _is(value, network))
    return RESTART


def _network(kind: str, text: str) -> IPv4Network | IPv6Network:
    return grammar.read(kind, lambda given: values.network(given, strict=False), text)


def _stands(document: Document, kind: str, network: IPv4Network | IPv6Network) -> bool:
    return any(_is(value, network) for value in document.values(kind))


def _is(value: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return values.network(value, strict=False) == network
    except values.Refused:  # a line that is wrong is another matter
        return False


def _switch(key: str, text: str) -> bool:
    return grammar.read(key, lambda given: values.choice(given, "on", "off"), text)


def _set_or_remove(document: Document, name: str, value: str | None) -> None:
    if value is None:
        document.remove(name)
    else:
        document.set(name, value)


def _require_cathedral(document: Document, path: Path) -> None:
    if Tunnel.of(document, path).cathedral is None:
        problem = "it has no cathedral (expected a tunnel that was added with one)"
        raise ConfigError(str(path), None, None, problem)


def _require_networks(document: Document, path: Path, kind: str) -> None:
    if _to_somebody(document, path, kind).tap:
        problem = f"no {kind} on a tap device (expected routes of what is behind it)"
        raise ConfigError(str(path), None, None, problem)


def _to_somebody(document: Document, path: Path, kind: str) -> Tunnel:
    tunnel = Tunnel.of(document, path)
    if not tunnel.has_peer:
        problem = f"{kind} on a {tunnel.mode} does not make sense (expected a tunnel)"
        raise ConfigError(str(path), None, None, problem)
    return tunnel
