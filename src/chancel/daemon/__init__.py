"""The daemon: an IP tunnel carried by a group of small Linux processes.

Plaintext, keys and network live in different processes, joined by lanes that carry batches one way.
*Heaven* is the plaintext side (the tunnel device), *purgatory* the ciphertext side (the UDP
socket). Each process has one *duty*:

- ``heaven-rx`` reads the device, ``bless`` seals, ``purgatory-tx`` sends to the network;
- ``purgatory-rx`` receives from the network, ``confess`` opens, ``heaven-tx`` writes the device;
- ``chapel`` makes the keys, ``control`` answers ``chancel status``, and the *guardian* is their
  parent, which starts them and ends all when one dies.

Between them: a *lane* (slots of packets, ``lane``), a *link* (small messages, ``link``), the
*board* (state and counters, ``board``) and a *bell* (a wake-up, ``bell``). ``topology`` has the
tables that say who is joined to whom, and those tables are the security policy. One group serves
many tunnels.
"""
