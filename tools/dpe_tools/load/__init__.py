"""A fleet of simulated devices, each of which runs the device package's own client against a real server."""
