"""Old spellings of options, accepted for one release."""

import sys
from typing import Any

from typer.core import TyperCommand

_RENAMED = {"--workers": "--jobs", "--readers": "--num-workers"}


class RenamedOptions(TyperCommand):
    """A command that accepts old spellings of its options, with a note on stderr."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with each old option replaced by the new one."""
        return super().parse_args(ctx, [_renamed(each) for each in args])


def _renamed(argument: str) -> str:
    option, equals, value = argument.partition("=")
    if option not in _RENAMED:
        return argument
    new = _RENAMED[option]
    sys.stderr.write(f"Note: {option} is deprecated; use {new}.\n")
    return f"{new}{equals}{value}"
