"""The commands of `dpe`, one module each or a small family."""
