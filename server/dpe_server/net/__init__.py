"""Datagrams in and out: sockets, batches of system calls, and the contract between a socket and its users.

Nothing here knows CoAP: a datagram is bytes, and a peer is bytes.
"""
