"""A virtual clock and a virtual network for the protocol's own objects.

Two *nodes* are joined by a *network* whose links follow a *model* (latency, loss, reordering, ...)
and may pass *NAT routers*; a *clock* jumps from one event to the next; a *ledger* watches each
key's every use. A node is a *machine* with a :class:`~chancel.protocol.session.Session`, or with a
:class:`~chancel.tunnel.Tunnel` in an event loop of its own; both give the same trace. Everything
random comes from one seed, so a failing run is repeated by its number. Models and NAT are pure and
shared with ``chancel.lab``, which applies them to real packets.
"""
