"""The cathedral: a UDP server that relays for devices and finds their peers."""
