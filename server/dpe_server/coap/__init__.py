"""CoAP, from a datagram to its response: options, the lane, the aiocoap endpoint, and a router with its resources.

Duplicates are recognised here too, and in a flood it is decided here whose turn it is. No DPE message, path or database
is known: what decides a payload, and the tables that recognise it, come from outside. Of the project it imports
dpe_coap, handling.reply, net and files.
"""
