"""Start of the program `quatrain`: light, so that Ctrl-C works from the beginning."""

import sys

from quatrain.cli.interrupt import leave_on_interrupt


def main() -> None:
    """Import the program and run it with the arguments of the process."""
    with leave_on_interrupt():
        try:
            from quatrain.cli.main import main as run_program
        except ModuleNotFoundError as error:
            from quatrain.specs import missing_package

            missing = missing_package(error.name or "")
            if missing is None:
                raise
            sys.stderr.write(f"Error: {missing}\n")
            sys.exit(2)
    run_program()
