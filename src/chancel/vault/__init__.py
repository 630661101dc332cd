"""Where keys live while they rest.

A **secret** (``secret``) is a long-term key in memory: masked but for the moment of its use, erased
when dropped, never printed, copied or pickled. ``files`` loads one from a file that only its owner
and we can touch. Neither knows what a key is for. ``ambries`` is what is kept beside a secret that
cathedrals bring.
"""
