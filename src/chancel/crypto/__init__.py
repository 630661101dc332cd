"""Primitives of others, put together: nothing here is a cipher, hash or group of our own.

``suite`` is the interface that everything above takes as an argument; ``system`` fills it from
``cryptography`` and ``kmac``, ``deterministic`` does so with repeatable randomness for tests and
simulations. ``kdf`` derives the protocol's keys, ``ed25519`` signs. **KMAC256** is the keyed hash
of NIST SP 800-185, **AEAD** authenticated encryption (AES-256-GCM), **KEM** a key encapsulation
mechanism (ML-KEM-1024), which stays secret from quantum computers where X25519 would not.
"""
