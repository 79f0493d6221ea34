"""CoAP, from a datagram to its response: options, the lane, the aiocoap endpoint, and a router with its resources.

Here is also what tells a duplicate, and in a flood whose turn it is. No message, path or database is known here: what
decides a payload, and the tables that recognise it, come from outside. Of the project it imports dpe_coap,
handling.reply, net and files.
"""
