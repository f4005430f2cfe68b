"""The console of all commands."""

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """A console that writes texts as they are: `[a]` and `:x:` in names and paths are no markup and no emoji."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
