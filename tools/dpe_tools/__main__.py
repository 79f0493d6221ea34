"""`python -m dpe_tools` is the `dpe` command."""

from dpe_tools.cli import main

main(prog_name="dpe")
