"""The server's secrets: its long-term keys by generation, the file that holds them, and what is sealed under them.

No file is opened and no database is known here.
"""
