"""How a run shows itself: a live display on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from bench.cli.terminal import console, is_terminal
from bench.cli.wording import duration, rate

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID
    from rich.progress import Task as Bar

    from bench.suite.estimate import Forecast

LINES = 10
PATIENCE = 60.0  # s: a slow stage says at least so often that it is alive
HASTE = 1.0  # s: a quick one says no more than this often


def has_failed(record: dict[str, Any]) -> bool:
    """Whether a unit's record is that of a failure."""
    row = record.get("row", record)
    return row.get("status") == "failed" or bool(row.get("error"))


class Outlook:
    """What a run expects of its stages: their time left, by what their units cost.

    Parameters
    ----------
    forecast : Forecast
        Made before the run.
    again : callable
        Makes it anew. Before a first run the data have not been read, so that sizes and shapes are not
        known; and a run may find that more is missing than the ledger says.
    workers : int
    """

    def __init__(self, forecast: Forecast, again: Callable[[], Forecast], workers: int):
        self._forecast, self._again, self._workers = forecast, again, workers

    def of(self, stage: str, total: int) -> TimeLeft | None:
        """Return the time left of a stage of `total` units; None for one whose units are never timed."""
        kind = {"source models": "source", "trials": "trial"}.get(stage)
        if kind is None:
            return None
        if not self._forecast.informed or self._forecast.missing(kind) != total:
            self._forecast = self._again()
        return TimeLeft(self._forecast, kind, total, self._workers) if self._forecast.missing(kind) else None


class TimeLeft:
    """The time left of a stage: what its missing units cost, at the pace of the finished ones.

    Costs are those of a model that learns from each finished unit, so that long ones may come first. In
    the beginning much is in flight and little finished: until several times the longest silence has
    passed, the pace is that of all workers together.

    Parameters
    ----------
    forecast : Forecast
    kind : {"source", "trial"}
    total : int
        Units of the stage.
    workers : int
    """

    EVERY = 1.0  # s between two reckonings
    TRUST = 4.0  # silences that the pace of all workers weighs as

    def __init__(self, forecast: Forecast, kind: str, total: int, workers: int):
        self._forecast, self._kind, self._workers = forecast, kind, workers
        self._missing = total
        self._last = self._silence = self._tried_at = self._said_at = 0.0
        self._left = self._reckon() if forecast.grounded else None

    def add(self, record: dict[str, Any], elapsed: float) -> None:
        """Take a finished unit in, so many seconds after the stage began."""
        # Units of a stack come in together: what is said is reckoned between stacks, not amid one.
        if elapsed - self._tried_at >= self.EVERY:
            self._tried_at = elapsed
            if self._last:
                self._left, self._said_at = self._reckon(), self._last
        self._silence = max(self._silence, elapsed - self._last)
        self._last = elapsed
        self._missing -= 1
        self._forecast.add(record)

    def at(self, elapsed: float) -> float | None:
        """Return the seconds left; None while nothing is known."""
        if self._left is None:
            return None
        # What is in flight goes on; how far it is shows only when it is done, so not too much of that.
        return self._left - min(elapsed - self._said_at, self._left / 2)

    def _reckon(self) -> float:
        finished, missing = self._forecast.seconds(self._kind)
        # What the forecast does not know of costs what the rest does.
        missing *= self._missing / max(self._forecast.missing(self._kind), 1)
        trust = self.TRUST * self._silence
        pace = (finished + self._workers * trust) / (self._last + trust) if trust else self._workers
        return missing / pace


class Pace:
    """How far a stage is and how fast it goes.

    Parameters
    ----------
    name : str
    total : int
        Units of work.
    expected : TimeLeft, optional
        Where units differ in cost; without it they count as alike.
    """

    def __init__(self, name: str, total: int, expected: TimeLeft | None = None):
        self.name, self.total, self._expected = name, total, expected
        self.done = self.failed = 0
        self._began = time.monotonic()

    def count(self, record: dict[str, Any]) -> None:
        """Take a finished unit in."""
        self.done += 1
        self.failed += has_failed(record)
        if self._expected:
            self._expected.add(record, self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> str:
        """Units a second (or minute, or hour), over the whole stage."""
        return rate(self.done / self.elapsed) if self.done and self.elapsed > 0 else ""

    @property
    def left(self) -> str:
        """Time left; nothing while nothing is known of it."""
        if self.done >= self.total:
            return ""
        if self._expected:
            seconds = self._expected.at(self.elapsed)
        else:
            seconds = self.elapsed / self.done * (self.total - self.done) if self.done else None
        return "" if seconds is None else f"{duration(seconds)} left"

    @property
    def failures(self) -> str:
        """How many failed; nothing where none did."""
        return f"{self.failed:,} failed" if self.failed else ""


class Lines(AbstractContextManager):
    """Says on standard error when a stage starts and ends, and about every tenth of it."""

    def __init__(self, outlook: Outlook | None = None) -> None:
        self._outlook = outlook
        self._stage: Pace | None = None

    def __exit__(self, *exception: object) -> None:
        if self._stage:
            self._end(self._stage)

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` units."""
        if self._stage:
            self._end(self._stage)
        self._stage = _pace(name, total, self._outlook)
        self._said, self._said_at = 0, 0.0
        self._write(f"{name}: {total:,}")

    def advance(self, record: dict[str, Any]) -> None:
        """Count a unit; say so when it completes another tenth, or after a long silence."""
        stage = self._stage
        stage.count(record)
        tenth = stage.done * LINES // stage.total if stage.total else 0
        silence = stage.elapsed - self._said_at
        due = (tenth > self._said and silence >= HASTE) or silence > PATIENCE
        if due and stage.done < stage.total:
            self._said, self._said_at = tenth, stage.elapsed
            share = f"{stage.done:,} of {stage.total:,} ({stage.done / stage.total:.0%})"
            self._write(f"{stage.name}: " + ", ".join(filter(None, [share, stage.failures, stage.rate, stage.left])))

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        self._write(f"note: {text}")

    def _end(self, stage: Pace) -> None:
        whole = "done" if stage.done >= stage.total else f"stopped at {stage.done:,} of {stage.total:,}"
        said = ", ".join(filter(None, [whole, stage.failures, duration(stage.elapsed)]))
        self._write(f"{stage.name}: {said}")
        self._stage = None

    def _write(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Live(AbstractContextManager):
    """Draws one line a stage on the terminal: bar, count, failures, rate, time gone and time left."""

    def __init__(self, outlook: Outlook | None = None) -> None:
        self._outlook = outlook
        self._display = _display()
        self._stage: Pace | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> Live:
        self._display.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._rest()
        self._display.stop()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` units."""
        self._rest()
        self._stage = _pace(name, total, self._outlook)
        self._bar = self._display.add_task(name, total=total, pace=self._stage)

    def advance(self, record: dict[str, Any]) -> None:
        """Count a unit."""
        self._stage.count(record)
        self._display.advance(self._bar)

    def note(self, text: str) -> None:
        """Say something worth knowing, above the display."""
        from rich.text import Text

        self._display.console.print(Text(f"note: {text}", style="yellow"))

    def _rest(self) -> None:
        """Stop the clock of the stage that is over."""
        if self._bar is not None:
            self._display.stop_task(self._bar)


def _display() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _column("failures", "bold red"),
        _column("rate", "cyan"),
        _clock(),
        _column("left", "green"),
        console=console(sys.stderr),
        refresh_per_second=4,
        expand=True,
    )


def _column(name: str, style: str) -> ProgressColumn:
    """Show one of the pace's attributes (rich's own rate forgets what is slower than its window)."""
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Column(ProgressColumn):
        def render(self, task: Bar) -> Text:
            running = not task.finished and task.stop_time is None
            return Text(getattr(task.fields["pace"], name) if running or name == "failures" else "", style=style)

    return Column()


def _clock() -> ProgressColumn:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Clock(ProgressColumn):
        def render(self, task: Bar) -> Text:
            return Text(duration(task.finished_time or task.elapsed or 0.0))

    return Clock()


def _pace(name: str, total: int, outlook: Outlook | None) -> Pace:
    return Pace(name, total, outlook.of(name, total) if outlook else None)


def watch(outlook: Outlook | None = None) -> Lines | Live:
    """Return what suits standard error."""
    return Live(outlook) if is_terminal(sys.stderr) else Lines(outlook)
