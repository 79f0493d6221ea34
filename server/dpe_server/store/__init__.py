"""What is durable: the store's contract, the rules of a commit, and a room for each database that keeps them.

``contract`` is all that the rest of the server imports, and ``opening`` all that names a database. No message, key or
policy is known here: a device is a hash, an IMEI and session keys are sealed before they come.
"""
