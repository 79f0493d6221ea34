"""CoAP: options, the lane of batches, the endpoint for everything else, resources, discovery, fairness in a flood.

It knows what a request is, and no message of DPE: those are for the handlers that it is given.
"""
