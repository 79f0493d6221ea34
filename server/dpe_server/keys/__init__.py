"""The server's long-term keys by generation, the file that holds them, and what is sealed under them.

No file is opened here, no database is known, and no entropy drawn: it comes in as a parameter.
"""
