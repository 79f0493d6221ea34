"""The store that comes with the server: one SQLite file. Only ``store.opening`` imports it."""
