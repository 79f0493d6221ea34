# The DPE Client: plain MicroPython, no imports outside the built-ins.
