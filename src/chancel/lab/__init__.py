"""The lab: real programs on real kernel networks, on one machine, without root.

A *host* of the lab is a network namespace of its own (with a hostname, so also a UTS namespace):
its interfaces, addresses, routes and sockets are the kernel's, and nobody else's. Hosts are joined
by *networks*: each host has an Ethernet interface whose far end is read and written by one process,
the *keeper*, which carries every packet to its receiver through the simulator's own models of loss,
delay and NAT. *Routers* join networks and translate addresses. ``Lab.veth`` joins two hosts with a
wire of the kernel instead, for measurements that the keeper would disturb.

Root uses network namespaces directly; anyone else gets a user namespace first, in which they are
root over these networks and nothing more. No program of the system is called, no file is left
behind: the namespaces live as long as the keeper, and the keeper as long as the :class:`~.lab.Lab`.

Reading order: ``lab`` (what a caller uses), ``keeper`` (the process), ``wire`` (how packets are
carried), ``interface`` and ``namespace`` (the kernel's side), ``enter`` and ``call`` (how programs
and functions run in a host), ``ping``, ``bulk`` and ``blast`` (traffic), ``command`` (``chancel
lab``).
"""
