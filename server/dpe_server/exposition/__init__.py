"""The process that serves a running server's numbers over HTTP, for Prometheus and others that read its format.

It is a process of its own, which ``dpe serve --metrics`` starts: a scrape costs the server nothing. It reads files, and
asks the store once a minute at most, on a connection of its own.
"""
