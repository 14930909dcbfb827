"""Compare pairwise coupling with a general optimiser: ``python benchmarks/coupling.py``."""

from __future__ import annotations

import platform
import time

import numpy as np
import scipy
from scipy.optimize import minimize

from cxr_sklearn._models.coupling import couple_probabilities

N_ROWS, N_OPTIMISED, REPEATS = 10_000, 20, 5


def one_by_one(pairs: np.ndarray) -> None:
    """Minimise Wu, Lin and Weng's objective for each row with SLSQP."""
    k = pairs.shape[1]
    for r in pairs:

        def objective(p: np.ndarray, r: np.ndarray = r) -> float:
            return float(((r.T * p[:, None] - r * p[None, :]) ** 2).sum())

        sums_to_one = {"type": "eq", "fun": lambda p: p.sum() - 1}
        minimize(objective, np.full(k, 1 / k), bounds=[(0, 1)] * k, constraints=sums_to_one)


def main() -> None:
    """Print the median time per row of both, side by side."""
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(f"classes  coupling, {N_ROWS} rows  per row  optimiser, per row  ratio")
    for k in (3, 5, 10):
        logits = np.random.default_rng(k).standard_normal((N_ROWS, k, k))
        pairs = 1 / (1 + np.exp(logits.transpose(0, 2, 1) - logits))
        coupled, optimised = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            couple_probabilities(pairs)
            coupled.append(time.perf_counter() - start)
            start = time.perf_counter()
            one_by_one(pairs[:N_OPTIMISED])
            optimised.append((time.perf_counter() - start) / N_OPTIMISED)
        whole, each = np.median(coupled), np.median(optimised)
        row = whole / N_ROWS
        print(
            f"{k:7d}  {1e3 * whole:17.0f} ms  {1e6 * row:4.1f} us  {1e6 * each:15.0f} us  "
            f"{each / row:5.0f}"
        )


if __name__ == "__main__":
    main()
