"""What every room may need of files and text: places in TOML, values as errors show them, logs.

Nothing of CoAP, DPE or a database lives here; it imports nothing of the server.
"""
