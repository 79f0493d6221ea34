"""What every room may need of files and text: places in TOML, values as errors show them, a server's URI, logs.

No message of CoAP or DPE and no database is known here; it imports nothing of the server.
"""
