"""The DPE session: what registered devices say under OSCORE, and what they are told.

Nothing here knows a socket, a clock or a database: what it decides goes through a handler, as a registration does.
"""
