"""The server as an operator runs it: processes, state directory, configuration, permissions, provisioning, audit log.

Everything is put together here. No other room of the server imports this one.
"""
