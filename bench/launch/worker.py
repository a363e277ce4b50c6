"""A worker process: reads its setup and units from standard input, writes each unit's records as a line."""

from __future__ import annotations

import json
import os
import sys

from bench.launch.units import make_runner, run_unit
from bench.trial import unit_from_json


def main() -> None:
    """Serve until the input ends."""
    # Records alone go to the driver: what a plug-in prints goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import torch

    torch.set_num_threads(1)
    setup = sys.stdin.buffer.readline()
    if not setup:
        return
    runner = make_runner(json.loads(setup))
    for line in sys.stdin.buffer:
        records = run_unit(runner, unit_from_json(json.loads(line)))
        try:
            answers.write(json.dumps(records, allow_nan=False).encode() + b"\n")
            answers.flush()
        except BrokenPipeError:
            return  # the driver has gone; nobody waits for these records


if __name__ == "__main__":
    main()
