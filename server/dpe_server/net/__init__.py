"""Datagrams in and out: sockets, batches of system calls, and the contracts of a socket with scheduler and user.

A datagram is bytes here, and a peer is bytes. Of CoAP only the default port is known, and nothing else of the server is
imported.
"""
