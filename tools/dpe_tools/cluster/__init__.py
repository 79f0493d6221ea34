"""PostgreSQL on this machine alone, with standbys, for `./tools/cluster`, the tests and the benchmarks.

Only what speaks about databases lives here; whoever uses a store opens it by its URL, as a server does.
"""
