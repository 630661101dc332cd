"""A virtual clock and a virtual network for the protocol's own objects.

Two *nodes* (one :class:`~chancel.protocol.session.Session` each) are joined by a *network* whose
links follow a *model* (latency, loss, reordering, ...) and may pass *NAT routers*; a *clock* jumps
from one event to the next; a *ledger* watches each key's every use. Everything random comes from
one seed, so a failing run is repeated by its number. Models and NAT are pure and shared with
``chancel.lab``, which applies them to real packets.
"""
