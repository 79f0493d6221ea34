"""Registrations: the server's side of DPE-1, pure. Messages, facts and the time go in; replies and changes come out.

No socket, clock, file, database or entropy of its own lives here, and nothing of CoAP but codes.
"""
