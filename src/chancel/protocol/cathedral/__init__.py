"""The brain of a cathedral: the server that devices find each other by, and that relays for them.

It speaks with *clients*, each of which has an *identity* whose keys the operator keeps, and which
belongs to a *flock*. A client tells of its *tunnels* by infos, and is told where the other end is;
a client of an automatic network tells of its device by *liturgies* and is told who else is there.
Cathedrals of one *federation* tell each other what their clients said.

``cathedral`` is the whole, made of small parts. What the operator wants is in ``settings``, read by
``settings_text``, and ``permits`` answers who may do what. ``requests`` opens what clients and
cathedrals say, ``admission`` decides before that whether it is worth the work, ``freshness``
whether it was said before. ``infos`` and ``liturgy_requests`` are the rules of both kinds, over the
tables ``tunnels`` and ``liturgies``, out of which ``removal`` takes what is over; ``outbox`` seals
what goes out, ``federation`` what goes to other cathedrals. ``relay`` passes on what clients say to
each other, along the ``route`` of each tunnel. ``shrouds`` tells masks apart, ``keys`` is where
secrets come from; ``ambries`` hands out wrapped ones, of a ``bundle`` that nobody here can open.

Everything is counted (``statistics``, and drops by reason) or told (``events``), nothing logged.
"""
