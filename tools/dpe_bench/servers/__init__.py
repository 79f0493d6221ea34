"""Servers that the benchmarks measure, each a process of its own."""
