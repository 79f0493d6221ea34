"""The DPE Server: registrar, ID Manager, policy, store and their CoAP endpoint."""
