"""A fleet of simulated devices, which all run the device package's own client against a real server."""
