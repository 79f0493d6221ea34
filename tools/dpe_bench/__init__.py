"""Benchmarks: ratios measured side by side in one run, against named peers, with every answer verified."""
