"""Chancel: a secure communication stack, bit-compatible with the sanctum protocol.

The packages are floors; imports only go down (``docs/architecture.md`` has the map):

``cli``, ``demo`` → ``lab`` → ``daemon``, ``sim`` → ``protocol`` → ``crypto``, ``vault`` → ``wire``.
"""

__version__ = "0.1.0"
