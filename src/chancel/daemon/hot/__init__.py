"""The hot functions: all that is done per packet, on slots and runs.

``reading`` (read the device and cut trains), ``seal``, ``send``, ``receive``, ``open`` and
``writing`` (join packets and write the device). Each takes memory and runs and keeps no state but
the cipher and the replay window, so a compiled twin can replace any one of them. A packet passes
them in that order, the first three on one machine and the last three on the other.
"""
