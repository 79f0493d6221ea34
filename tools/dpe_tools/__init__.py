"""The `dpe` command."""
