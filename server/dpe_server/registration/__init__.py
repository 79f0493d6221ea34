"""Registrations: the server's side of DPE-1, pure. Messages, facts and the time go in; replies and changes come out.

No socket, clock, file, database or source of entropy lives here. Of CoAP only codes and content formats are known.
"""
