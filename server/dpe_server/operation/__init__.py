"""The server as an operator runs it: processes, state directory, configuration, permissions, provisioning, the audit log.

Everything is put together here. No other room imports this one.
"""
