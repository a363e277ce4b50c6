"""What every benchmark shares: alternating runs, their ratios, and the table that is kept of them."""

from __future__ import annotations

import csv
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = ("benchmark", "baseline", "ratio", "low", "high", "aim", "met", "machine")
_AIMS: dict[str, Callable[[float, float], bool]] = {">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b}


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    rounds : int or None
        How often the contestants take turns; None leaves it to the benchmark.
    full : bool
        Nothing is extrapolated from a sample, however long it takes.
    folder : Path
        Where tables are kept.
    """

    device: str = "cpu"
    rounds: int | None = None
    full: bool = False
    folder: Path = Path("results/benchmarks")


@dataclass(frozen=True)
class Measured:
    """One line of the table: the quantity that `benchmark` names, relative to that of `baseline`.

    Attributes
    ----------
    benchmark : str
        The benchmark, a colon, and which quantity of what.
    baseline : str
    ratios : sequence of float
        One a round. Their median is the ratio; the smallest and the largest are its bounds.
    aim : str
        Such as ">= 12" or "<= 1.05"; "" where there is none.
    broken : bool
        Something besides the ratio is amiss (torch was imported, say): the aim is not met, whatever it is.
    """

    benchmark: str
    baseline: str
    ratios: Sequence[float]
    aim: str = ""
    broken: bool = False

    @property
    def met(self) -> str:
        """Whether the median meets the aim: "yes", "no", or "" without an aim."""
        if not self.aim:
            return ""
        relation, limit = self.aim.split()
        kept = _AIMS[relation](statistics.median(self.ratios), float(limit))
        return "yes" if kept and not self.broken else "no"

    def row(self, on: str) -> dict[str, str]:
        """Return the line as text, by column."""
        numbers = (statistics.median(self.ratios), min(self.ratios), max(self.ratios))
        ratio, low, high = (f"{n:.4g}" for n in numbers)
        values = (self.benchmark, self.baseline, ratio, low, high, self.aim, self.met, on)
        return dict(zip(COLUMNS, values, strict=True))


@dataclass
class Stopwatch:
    """Seconds of contestants, round by round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Run one contestant once, without the garbage collector's pauses."""
        gc.collect()
        gc.disable()
        try:
            began = time.perf_counter()
            work()
            self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        finally:
            gc.enable()

    def ratios(self, name: str, baseline: str) -> list[float]:
        """Return seconds of `name` over those of `baseline`, of each round."""
        return [a / b for a, b in zip(self.seconds[name], self.seconds[baseline], strict=True)]


def alternate(contestants: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True) -> Stopwatch:
    """Run the contestants in turn, `rounds` times, the order being reversed every other round."""
    watch = Stopwatch()
    if warm_up:
        for work in contestants.values():
            work()
    names = list(contestants)
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            watch.run(name, contestants[name])
    return watch


def machine(device: str = "cpu") -> str:
    """Describe this machine in a few words: processor, cores, GPU, torch. No name of a host."""
    from importlib.metadata import version

    from bench.provenance import describe

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [describe("cpu", 1)["processor"], "1 core" if cores == 1 else f"{cores} cores"]
    if device == "cuda":
        import torch

        parts.append(torch.cuda.get_device_name(0))
    return ", ".join([*parts, f"torch {version('torch').partition('+')[0]}"])


def merge(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows into a table: they replace those of the same machine and benchmark, all others stay.

    A benchmark is what stands before the colon in its rows: a run of "step" replaces every "step: ...".

    Raises
    ------
    ValueError
        When the file that is there has other columns.
    """
    replaced = {_place(row) for row in rows}
    kept = [*(row for row in read(path, columns) if _place(row) not in replaced), *rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=_place))  # stable: rows of one benchmark keep their order


def read(path: Path, columns: Sequence[str] = COLUMNS) -> list[dict[str, str]]:
    """Return the rows of a table that is kept; none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise ValueError(f"{path} has the columns {reader.fieldnames}, not {list(columns)}")
        return list(reader)


def _place(row: Mapping[str, str]) -> tuple[str, str]:
    return row["machine"], row["benchmark"].partition(":")[0]


def markdown(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> str:
    """Lay rows out as a Markdown table."""
    lines = [columns, ["---"] * len(columns), *([row[name] for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_between(path: Path, mark: str, text: str) -> None:
    """Replace what stands between ``<!-- mark:begin -->`` and ``<!-- mark:end -->`` in a file."""
    begin, end = f"<!-- {mark}:begin -->\n", f"<!-- {mark}:end -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    path.write_text(f"{before}{begin}{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def show(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> str:
    """Lay rows out as aligned text."""
    lines = [tuple(columns), *(tuple(row[name] for name in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)
