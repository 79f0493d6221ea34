"""The wire protocol of DPE-1: messages, key schedule and CoAP binding. Pure: no I/O, no clock, no logging."""
