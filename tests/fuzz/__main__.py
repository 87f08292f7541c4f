"""Read mutated files: `python tests/fuzz coco --inputs 100000`; all readers without a name.

An input is read again by its number: `python tests/fuzz coco --first 4711 --inputs 1`, and
`--keep FILE` writes its content.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])


def main() -> int:
    """Run the command line; 1 if there are faults."""
    from fuzz.bombs import BOMBS
    from fuzz.campaign import run_in_child, write_input
    from fuzz.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--bombs", action="store_true", help="read the bombs of the readers")
    parser.add_argument("--keep", type=Path, help="write the first input to this file")
    options = parser.parse_args()
    names = options.readers or list(READERS)
    unknown = set(names) - READERS.keys()
    if unknown:
        parser.error(f"unknown readers: {', '.join(sorted(unknown))}")
    if options.keep:
        with tempfile.TemporaryDirectory() as folder:
            case = READERS[names[0]].open(Path(folder))
            write_input(names[0], READERS[names[0]], options.first, case)
            options.keep.write_bytes(case.path.read_bytes())
        return 0
    numbers = range(options.first, options.first + options.inputs)
    chosen = {
        name: range(-len(BOMBS.get(name, ())), 0) if options.bombs else numbers for name in names
    }
    outcomes = run_in_child(chosen, _print)
    return any(outcome.faults for outcome in outcomes.values())


def _print(name: str, outcome: Any) -> None:
    counts = f"{outcome.read} read, {outcome.refused} refused, {len(outcome.faults)} faults"
    print(f"{name}: {counts}, {outcome.seconds:.1f} s")
    print("".join(f"  {fault}\n" for fault in outcome.faults), end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
