"""Every fault by one command: ``python -m tests.reliability``, from the top of the checkout.

Rows go to results/reliability/faults.csv: how often a fault was tried, and how many rows were lost, duplicated
or wrong after the same command had gone on. `lost` counts finished rows that are gone; `duplicated` those that
are there twice or were run again; `wrong` those that differ in anything but time from the undisturbed run's, and
damage that nothing was said about. Faults come at random moments from a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from . import disks, drivers, kills, nodes, workers
from .study import SUITE, Outcome, Study, Zygote

FOLDER = Path(__file__).resolve().parents[2] / "results" / "reliability"
COLUMNS = ("fault", "tried", "lost", "duplicated", "wrong")

# Fault -> (what makes it, how often). Those of workers need a suite of their own.
FAULTS: dict[str, tuple[Callable[[Study, int], Outcome], int]] = {
    "kill -9 of the run": (kills.driver_killed, 100),
    "kill -9 of the driver of two workers": (kills.driver_with_workers_killed, 20),
    "kill -9 of a worker": (kills.worker_killed, 10),
    "Ctrl-C": (kills.interrupted_once, 10),
    "Ctrl-C twice": (kills.interrupted_twice, 10),
    "disk fills up amid a write": (disks.file_too_large, 30),
    "full file system": (disks.full_disk, 10),
    "disk fails to sync": (disks.sync_fails, 20),
    "read-only folder": (disks.read_only_folder, 5),
    "torn last line": (disks.torn_line, 50),
    "bytes missing amid the ledger": (disks.line_cut_amid, 50),
    "zeros at the ledger's end": (disks.zeros_at_the_end, 50),
    "flipped bit in the ledger": (disks.flipped_bit, 100),
    "truncated source model": (disks.truncated_model, 20),
    "flipped bit in a source model": (disks.flipped_model, 20),
    "swapped source model": (disks.swapped_model, 20),
    "deleted source model": (disks.lost_model, 5),
    "source models damaged while it runs": (disks.damaged_while_it_runs, 20),
    "two drivers on one folder": (drivers.two_drivers, 10),
    "three drivers started at once": (drivers.started_together, 10),
    "stale lock": (drivers.stale_lock, 10),
    "clock that jumps": (drivers.clock_jumps, 20),
    "node of a Ray cluster dies": (nodes.node_killed, 5),
}
WORKER_FAULTS: dict[str, tuple[Callable[[Study, int], Outcome], int]] = {
    "trial raises": (workers.trial_raises, 5),
    "trials raise until mended": (workers.trial_always_raises, 2),
    "trial asks for too much memory": (workers.trial_without_memory, 5),
    "trial killed by the kernel for memory": (workers.trial_killed_for_memory, 5),
    "trial killed by SIGKILL": (workers.trial_killed, 5),
    "trial crashes": (workers.trial_crashes, 5),
    "trial hangs": (workers.trial_hangs, 2),
}
# Fault -> (whether it can be made here, why not). What cannot is not tried, and that is said.
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "full file system": (disks.can_mount, "this user may not mount a file system in a name space"),
    "trial killed by the kernel for memory": (workers.can_limit_memory, "this user may not make a control group"),
    "node of a Ray cluster dies": (nodes.has_ray, "Ray is not installed (ntbench[ray])"),
}


@contextmanager
def studies() -> Iterator[Callable[[str], Study]]:
    """Yield a function from a fault to its study; each undisturbed run is made when it is first needed."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        Path(folder).chmod(0o755)
        zygote = Zygote(Path(folder))
        made: dict[bool, Study] = {}

        def study_of(fault: str) -> Study:
            own = fault in WORKER_FAULTS
            if own not in made:
                place = Path(folder) / ("own" if own else "shared")
                place.mkdir()
                suite = workers.fragile_suite(place / "fragile") if own else SUITE
                made[own] = Study(place, zygote, suite)
            return made[own]

        try:
            yield study_of
        finally:
            zygote.close()


def main(argv: list[str] | None = None) -> int:
    """Try the faults that are named, all by default; return 1 where one cost something."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"some of: {', '.join({**FAULTS, **WORKER_FAULTS})}")
    parser.add_argument("--tries", type=int, metavar="N", help="how often each is tried, instead of its own number")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where faults.csv is kept")
    asked = parser.parse_args(argv)
    known = FAULTS | WORKER_FAULTS
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(f"no fault {unknown[0]!r}; there are: {', '.join(known)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: dict[str, Outcome] = {}
    with studies() as study_of:
        for name in asked.names or known:
            possible, why_not = NEEDS.get(name, (lambda: True, ""))
            if not possible():
                print(f"{name}: NOT TRIED: {why_not}", flush=True)
                continue
            began = time.monotonic()
            make, tries = known[name]
            rows[name] = make(study_of(name), asked.tries or tries)
            print(f"{name}: {rows[name]}, {time.monotonic() - began:.0f} s", flush=True)
            write(rows, asked.folder / "faults.csv", list(known))
    return int(not all(outcome.clean for outcome in rows.values()))


def write(rows: dict[str, Outcome], path: Path, order: list[str]) -> None:
    """Put rows into the table, those of other faults being kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            kept = {row["fault"]: [row[name] for name in COLUMNS[1:]] for row in csv.DictReader(file)}
    kept |= {name: list(astuple(outcome)) for name, outcome in rows.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([name, *kept[name]] for name in order if name in kept)
    path.write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
