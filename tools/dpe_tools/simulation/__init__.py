"""The deterministic simulation: the real server and the real client under one virtual clock and one seeded network."""
