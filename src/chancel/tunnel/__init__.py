"""An encrypted tunnel to one peer, for asyncio programs, over anything that moves bytes.

A :class:`Tunnel` takes what moves bytes for it, its *carrier*: a **Port**, on which it talks to its
peer wherever that is, or a **Link**, at whose other end the peer is; and it is a Link itself. It is
*up* while both ends have agreed on keys, which proves that both hold the same shared secret; then
:meth:`Tunnel.send` and :meth:`Tunnel.receive` carry messages, encrypted, each whole or not at all.
What happens meanwhile comes as *events*: all of the protocol's own (``chancel.protocol.events``),
and :class:`Up`, :class:`Down` and :class:`Refused` for people. :meth:`Tunnel.status` is a snapshot.

With :class:`Cathedrals` the peer may be anywhere, behind any NAT: servers that can read nothing
find it, relay until there is a direct path, and hand out the shared secret. With a :class:`Liturgy`
all devices of a group find each other so, and get a tunnel to each.

What is on the wire is the protocol of the daemon: either end may be ``chancel run``.
"""

from __future__ import annotations

from chancel.tunnel.cathedrals import Cathedrals
from chancel.tunnel.events import Down, Refused, TunnelEvent, Up
from chancel.tunnel.liturgy import Joined, Left, Liturgy, LiturgyEvent
from chancel.tunnel.status import TunnelStatus
from chancel.tunnel.tunnel import Tunnel

__all__ = [
    "Cathedrals",
    "Down",
    "Joined",
    "Left",
    "Liturgy",
    "LiturgyEvent",
    "Refused",
    "Tunnel",
    "TunnelEvent",
    "TunnelStatus",
    "Up",
]
