"""The protocol without IO: small machines that take bytes and a time and give back what to do.

``exchange`` agrees on keys with the peer by *offers*. It is made of ``handshake`` (one exchange,
whose ``states`` are tables, with the ``fragments`` it collects), ``schedule``, ``liveness`` (when
the next one starts), ``answers`` (what the last one leaves behind), ``agreement`` (the keys) and
``correspondence`` (``offers`` in and out, with ``admission`` and ``clocks``). ``traffic`` seals and
``opening`` opens packets under those keys, an **SA** (security association) being one key of one
direction with its SPI, salt and packet numbers; ``window`` refuses packets seen before; ``path``
knows where the peer is; ``graces`` sends heartbeats and finds the MTU. They speak the frozen values
of ``messages`` and tell what happened in those of ``events``. ``session`` joins them by direct
calls; the daemon does so across processes.

``registration`` is an end's conversation with its cathedrals, of which ``choice`` says which is the
current one; ``whereabouts`` takes the place of ``path`` then. ``liturgy`` asks one who else is
there; what the two share is in ``asker`` and ``client``. The other side, the brain of a
cathedral, is the package ``cathedral``.

``cathedral_offers`` signs, seals and opens what goes to, from and between cathedrals, ``ambry``
unwraps the secret that one hands out, and ``shroud_marks`` tells it whose shroud it sees.
``sealing`` is the way of all offers to seal what they say.

``profile`` has the numbers that a version of the protocol fixes, ``behaviour`` those in which
implementations of it differ. Nothing here does IO or reads a clock: ``now`` is monotonic seconds,
``wall`` the seconds of the wall clock since 1970, and randomness comes from the injected suite.
"""
