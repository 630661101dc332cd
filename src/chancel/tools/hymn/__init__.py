"""Tunnels by name: their configurations are kept in one directory, and started and stopped from it.

Files, names and texts are those of the reference's tool of this name, so either tool works on what
the other made. A **tunnel name** is ``[FLOCK-]SRC-DST``: the flock, and the numbers of the devices
at both ends in hex; without a cathedral the flock is the word ``hymn``.

``names`` are the names, ``hymnal`` is the directory. ``document`` changes one line of a file and
keeps all others, ``edits`` are the changes that have a command, ``grammar`` and ``layout`` make a
new file. ``tunnel`` is what a file says; ``figures`` and ``running`` tell how such a tunnel is, as
``listing`` and ``report`` print it; ``service`` starts and stops.
"""
