"""The cathedral: a UDP server that relays for devices and finds their peers.

What it decides is in ``protocol.cathedral``, without IO. Here is what that needs of a machine:

``config`` reads its file, ``settings`` the file that says who may register, and ``bundles`` the
wrapped secrets it hands out; ``keys`` finds the keys of clients. ``relay`` moves datagrams, trains
in and trains out. ``duty`` joins all that in one process; beside it are ``control`` and the
``guardian``, as beside tunnels, made of the same parts (``chancel.daemon``). ``news`` is what they
tell each other.
"""
