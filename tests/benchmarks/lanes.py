"""Lanes: trainings of the small convolutional network stacked, against one after the other.

Every stack takes steps of the training loop with each lane's own batches; its throughput is lanes times
steps a second. On a CPU one thread is used, as a worker has it.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import torch

from .ratios import Measured, Options, alternate
from .step import finished, make_setting, stacked

ROUNDS = 5
LANES = (1, 4, 16, 64, 256)
SIDES = (8, 16, 28)
STEPS = {"cpu": 256, "cuda": 2048}  # trainings times steps in a round, of each stack
LEAST_STEPS = 4
AIMS = {("cuda", 64): ">= 25"}


def measure(options: Options, sides: tuple[int, ...] = SIDES, counts: tuple[int, ...] = LANES) -> list[Measured]:
    """Measure each stack's throughput relative to that of one lane."""
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for side in sides:
            setting, work, steps = make_setting(side, options.device), {}, {}
            for lanes in counts:
                steps[lanes] = min(len(setting.batches), max(LEAST_STEPS, STEPS[options.device] // lanes))
                part = replace(setting, batches=setting.batches[: steps[lanes]])
                work[str(lanes)] = finished(stacked(part, lanes), options)
            watch = alternate(work, options.rounds or ROUNDS)
            # Trainings' steps a second, of each round.
            rates = {n: [n * steps[n] / seconds for seconds in watch.seconds[str(n)]] for n in counts}
            said = ", ".join(f"{n}: {statistics.median(each):,.0f}" for n, each in rates.items())
            print(f"{side} x {side}, trainings' steps a second by lanes: {said}", flush=True)
            for n in counts[1:]:
                ratios = [many / one for many, one in zip(rates[n], rates[1], strict=True)]
                aim = AIMS.get((options.device, n), "")
                found.append(Measured(f"lanes: throughput of {n} at {side} x {side}", "1 lane", ratios, aim))
    finally:
        torch.set_num_threads(threads)
    return found
