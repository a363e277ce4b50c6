"""Rows of a suite that was never run: made by a formula, for tables and figures."""

import numpy as np
import pandas as pd

from bench.schema import conform

DISTANCE = {
    "printed-digits": 3.0,
    "letters": 6.0,
    "inverted": 8.0,
    "symbols": 13.0,
    "patches": 23.0,
    "noisy-labels": 32.0,
    "permuted-pixels": 42.0,
    "noise": 54.0,
    "shuffled-labels": 83.0,
}
POINTS = [
    ("zero-shot", 4, 4),
    ("feature-extraction", 4, 4),
    *(("fine-tune", 4, f) for f in range(4)),
    *(("layer-transfer", n, n) for n in (1, 2, 3)),
    *(("layer-transfer-tuned", n, 0) for n in (1, 2, 3)),
    ("linear-probe-fine-tune", 4, 0),
    ("gradual-unfreezing", 4, 0),
]
SCRATCH = {20: 0.63, 100: 0.86}


def gap_of(source, frozen, size):
    """True gap: a gain from near sources, a harm that grows with distance and frozen depth."""
    return (DISTANCE[source] / 83 * 0.5 * (0.1 + frozen / 4) - 0.03) * (1.0 if size == 20 else 0.5)


def synthetic_rows(sources=tuple(DISTANCE), points=tuple(POINTS), sizes=(20, 100), seeds=5, **changes) -> pd.DataFrame:
    """Rows of every source, point, size and seed, with a little noise; scratch included."""
    rng = np.random.default_rng(0)
    common = {"suite": "synthetic", "target": "digits", "backbone": "cnn", "status": "ok", "validation": "cut 0.2"}
    rows = []
    for size in sizes:
        for seed in range(seeds):
            level = SCRATCH[size] + rng.normal(0, 0.02)
            place = common | {"target_size": size, "seed": seed}
            nothing = {"source": None, "strategy": "scratch", "transfer_depth": 0, "frozen_depth": 0}
            rows.append(place | nothing | {"test_accuracy": level})
            for source in sources:
                for strategy, n, f in points:
                    accuracy = level - gap_of(source, f, size) + rng.normal(0, 0.004)
                    free = strategy == "zero-shot"
                    if free and size != sizes[0]:
                        continue
                    rows.append(
                        place
                        | {"source": source, "strategy": strategy, "transfer_depth": n, "frozen_depth": f}
                        | {"test_accuracy": accuracy, "weighting": "uniform", "frechet_distance": DISTANCE[source]}
                        | {
                            "frechet_distance_low": DISTANCE[source] - 0.9,
                            "frechet_distance_high": DISTANCE[source] + 0.9,
                        }
                        | ({"target_size": 0, "validation": "none"} if free else {})
                    )
    return conform([row | changes for row in rows])
