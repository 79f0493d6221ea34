"""The server's long-term keys by generation, the file that holds them, and what is sealed under them.

No file is opened here, no database is known, and no entropy is drawn: random bytes come from a parameter.
"""
