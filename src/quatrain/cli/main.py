"""Start of the program `quatrain`; Ctrl-C while its modules are imported ends it in a sentence."""

import sys


def main() -> None:
    """Run the program with the arguments of the process."""
    try:
        from quatrain.cli.app import run_app

        run_app()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)
