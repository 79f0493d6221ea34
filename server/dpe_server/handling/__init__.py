"""How requests are decided in batches, whatever protocol they belong to: handlers, the batcher, replies, audit records.

No message, socket or database is known here, only the contracts between a handler, a store and whoever asks.
"""
