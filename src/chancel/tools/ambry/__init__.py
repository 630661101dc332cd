"""Keys that roll by themselves: KEKs of devices, and bundles of secrets wrapped with them.

Each device of a flock has a **KEK** (key encryption key) in a file that is carried to it once. The
owner of the flock makes a **bundle** from time to time: for every pair of devices a new secret,
wrapped for each end (an **ambry**). Cathedrals hand the ambries out and can't open them. To
**renew** a device's KEK is to lock out who has the old one, from the next bundle on.

``folder`` names the files of a flock, ``files`` writes them whole or not at all, ``keys`` makes
and loads what is in them. ``bundle`` makes a bundle, ``check`` reads one and says for whom it
opens, both spread over all cores by ``crew``. ``roll`` is the whole of it in one safe step.
"""
