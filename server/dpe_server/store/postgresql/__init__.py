"""The store in a PostgreSQL database, which several nodes share. Only ``store.opening`` imports it.

It needs psycopg: ``pip install 'dpe-coap[postgresql]'``.
"""
