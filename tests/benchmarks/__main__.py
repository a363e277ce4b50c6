"""All benchmarks by one command: ``python -m tests.benchmarks``, from the top of the checkout.

Rows are merged into results/benchmarks/ratios.csv, and the README beside it shows that table. ``ratio`` is the
quantity that ``benchmark`` names, divided by that of ``baseline``: the median over rounds in which the two
take turns, ``low`` and ``high`` being the smallest and the largest round. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from .ratios import Options, machine, markdown, merge, read, show, write_between

PAGE = Path(__file__).resolve().parents[2] / "results" / "benchmarks" / "README.md"

# Name -> what it takes. Each is a module beside this one with a function `measure(options)`.
BENCHMARKS = {
    "suite": "the default suite against the scripts that one would write otherwise",
    "step": "one step of the training loop against bare PyTorch, DataLoader, skorch and Lightning",
    "cut": "training above frozen blocks with their activations computed once",
    "lanes": "trainings that are stacked against one after the other",
    "weighting": "one step with learned weights against the plain step and other ways to the same weights",
    "launch": "two processes against one, Ray against local processes, and how fast the driver is",
    "growth": "planning, resuming, loading results and driving, from a thousand rows to a million",
    "startup": "start-up of the command, which never imports torch",
}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks that are named, all by default; return 1 where an aim is not met."""
    described = "\n".join(f"  {name:<10} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=f"{__doc__}\n\nbenchmarks:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (all of them by default)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--rounds", type=int, metavar="N", help="how often the contestants take turns")
    parser.add_argument("--full", action="store_true", help="run the scripts of `suite` in full (hours)")
    parser.add_argument("--folder", type=Path, default=Options.folder, help="where the tables are kept")
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    from bench.launch.machine import choose_device

    options = Options(choose_device(asked.device), asked.rounds, asked.full, asked.folder)
    rows = []
    for name in asked.names or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name]}", flush=True)
        module = importlib.import_module(f".{name}", __package__)
        measured = module.measure(options)
        found = [line.row(machine(options.device)) for line in measured]
        table = options.folder / "ratios.csv"
        merge(table, found)  # at once: a benchmark that fails later loses nothing
        if options.folder == Options.folder:
            texts = module.tables(options.folder) if hasattr(module, "tables") else {}
            for mark, text in {"ratios": markdown(read(table)), **texts}.items():
                write_between(PAGE, mark, text)
        rows += found
    print("\n" + show(rows))
    return 1 if any(row["met"] == "no" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
