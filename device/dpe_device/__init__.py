"""The DPE Client, in plain MicroPython: it imports nothing but built-in modules."""
