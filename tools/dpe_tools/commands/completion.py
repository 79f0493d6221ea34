"""`dpe completion`: what makes a shell complete the commands."""

import click

from dpe_tools.completion import script

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options, files and folders.

    \b
    For good, from the next shell on:
      dpe completion bash >~/.local/share/bash-completion/completions/dpe
      dpe completion zsh >~/.zfunc/_dpe     # with fpath+=~/.zfunc before compinit in ~/.zshrc
      dpe completion fish >~/.config/fish/completions/dpe.fish

    For this shell alone: eval "$(dpe completion bash)", or: dpe completion fish | source
    """
    click.echo(script(shell, context.find_root().command), nl=False)
