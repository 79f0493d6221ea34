"""Datagrams in and out: sockets, batches of system calls, and the contracts of a socket with scheduler and user.

A datagram is bytes here, and a peer is bytes: nothing is known of CoAP but the port where a server listens by default.
Nothing of the server is imported but this room.
"""
