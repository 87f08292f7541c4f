"""Coverage and power of the intervals of `quatrain.results.fit`, by simulated studies.

    python -m benchmarks.coverage
    python -m benchmarks.coverage --studies 200

Each simulated study has a grid of cells and seeds, normal noise and an effect of each seed as large
as the noise. In the rows with unequal spreads every second cell has a standard deviation that is
`spread` times that of the others. "calm" is the difference of two cells with the small standard
deviation, "loud" of two with the large one, "mean of all" half of the cells minus the other half.
Coverage is the share of studies whose 95 % interval contains the true value; power is the share
that finds a true difference of two residual standard deviations of the pair's cells.
"""

import argparse
import itertools

import numpy as np

from quatrain.results.fit import Fit, Variance, Weights

GRIDS = ((2, 3), (2, 5), (8, 2), (8, 3), (16, 3), (16, 5))
SPREADS = (1.0, 1.5, 2.0, 4.0)
VARIANCES: tuple[Variance, ...] = ("pooled", "separate")


def contrasts(cells: int) -> dict[str, Weights]:
    """The contrasts of a grid; even cells are calm, odd ones loud."""
    if cells == 2:
        return {"calm": {"0": 1, "1": -1}}
    half = cells // 2
    return {
        "calm": {"0": 1, "2": -1},
        "loud": {"1": 1, "3": -1},
        "mean of all": {str(n): (1 if n < half else -1) / half for n in range(cells)},
    }


def simulate(
    cells: int, seeds: int, spread: float, variance: Variance, studies: int
) -> dict[str, tuple[float, float]]:
    """Coverage and power of each contrast."""
    generator = np.random.default_rng(0)
    scales = np.where(np.arange(cells) % 2 == 0, 1.0, spread)
    covered = dict.fromkeys(contrasts(cells), 0)
    found = dict.fromkeys(contrasts(cells), 0)
    for _ in range(studies):
        values = generator.normal(size=(cells, seeds)) * scales[:, None]
        values += generator.normal(size=seeds)
        fitted = Fit(
            {str(n): dict(enumerate(row.tolist())) for n, row in enumerate(values)}, variance
        )
        for name, weights in contrasts(cells).items():
            estimate = fitted.contrast(weights)
            if estimate.low is None or estimate.high is None:
                continue
            effect = 2 * (spread if name == "loud" else 1.0)
            covered[name] += estimate.low <= 0 <= estimate.high
            found[name] += estimate.low + effect > 0
    return {name: (covered[name] / studies, found[name] / studies) for name in covered}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies a row")
    studies = parser.parse_args().studies
    print("| cells | seeds | spread | variance | contrast | coverage | power |")
    print("|---:|---:|---:|---|---|---:|---:|")
    for (cells, seeds), spread, variance in itertools.product(GRIDS, SPREADS, VARIANCES):
        for name, (coverage, power) in simulate(cells, seeds, spread, variance, studies).items():
            row = (cells, seeds, f"{spread:g}", variance, name, f"{coverage:.3f}", f"{power:.3f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
