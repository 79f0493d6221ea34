"""What is durable: the store's contract, the rules of a commit, and a room for each database that keeps them.

The rest of the server imports ``contract`` and, to open a store, ``opening``, which alone names a database. No message,
key or policy is known here: a device is a hash, an IMEI and session keys are sealed before they come.
"""
