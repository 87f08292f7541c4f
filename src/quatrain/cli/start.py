"""Start of the program `quatrain`: light, so that Ctrl-C is heard from the beginning."""

from quatrain.cli.interrupt import leave_on_interrupt


def main() -> None:
    """Import the program and run it with the arguments of the process."""
    with leave_on_interrupt():
        from quatrain.cli.main import main as run_program
    run_program()
