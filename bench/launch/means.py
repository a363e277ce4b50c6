"""By what means a run is carried out: which launcher, how many workers, how long a trial may take.

No row depends on any of it. A launcher is a context manager; between `configure` and its end, `run` takes
units of work and yields what came of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bench.errors import BenchError, unknown
from bench.launch.machine import choose_device, default_jobs
from bench.launch.units import Done
from bench.suite.plan import Plan
from bench.trial import Unit

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Means:
    """How a run is carried out.

    Attributes
    ----------
    launcher : {"inline", "processes", "ray"} or None
        Where units run; None means local processes, or this process for `jobs` = 0.
    jobs : int or None
        Worker processes; None means one a usable core (on Ray: as many as the cluster has room for).
    device : {"auto", "cpu", "cuda"}
    timeout : float or None
        Seconds that a trial, a source model or a measurement may take; of a group, each of its members.
    address : str or None
        Of a Ray cluster; None means the one that RAY_ADDRESS names, else one on this machine alone.
    cpus, gpus : float or None
        What a Ray worker takes of its node; fractions of a GPU are shares of it. None means 1, and 1 GPU
        where networks are trained on GPUs.
    """

    launcher: str | None = None
    jobs: int | None = None
    device: str = "auto"
    timeout: float | None = None
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None

    def resolved(self) -> Means:
        """Return the same with everything chosen that was left open.

        Raises
        ------
        BenchError
            For what is unknown, impossible or does not go together.
        """
        name = self.launcher or ("inline" if self.jobs == 0 else "processes")
        if name not in LAUNCHERS:
            raise unknown("launcher", name, LAUNCHERS)
        entry = LAUNCHERS[name]
        _check_numbers(self)
        for option in ("timeout", "address", "cpus", "gpus"):
            if getattr(self, option) is not None and option not in entry.options:
                able = " or ".join(other for other, known in LAUNCHERS.items() if option in known.options)
                raise BenchError(f'--{option}: the launcher "{name}" has no such option; --launcher {able} has')
        return entry.resolve(replace(self, launcher=name))

    def label(self) -> str:
        """Say how it is, for the header of a run."""
        return LAUNCHERS[self.launcher].label(self)


def _check_numbers(means: Means) -> None:
    if means.jobs is not None and means.jobs < 0:
        raise BenchError(f"--jobs {means.jobs}: must be 0 (in this process) or more")
    for option, least in (("timeout", 0.0), ("cpus", 0.0), ("gpus", None)):
        value = getattr(means, option)
        if value is not None and not (math.isfinite(value) and (value >= 0 if least is None else value > least)):
            allowed = "0 or more" if least is None else "above 0"
            raise BenchError(f"--{option} {value:g}: must be {allowed}")
    if means.gpus and means.gpus > 1 and means.gpus != int(means.gpus):
        raise BenchError(f"--gpus {means.gpus:g}: above 1, it must be a whole number of GPUs")


class Launcher(Protocol):
    """What a launcher does; a context manager."""

    @property
    def jobs(self) -> int:
        """How many workers there are."""

    def __enter__(self) -> Launcher: ...

    def __exit__(self, *exception: object) -> None: ...

    def configure(self, plan: Plan, setup: dict[str, Any]) -> None:
        """Say what the units belong to; `setup` is as :func:`bench.launch.units.setup_to_json` gives it."""

    def run(self, units: Iterable[Unit]) -> Iterator[list[Done]]:
        """Yield what came of units, as many as have finished meanwhile."""

    def stop(self) -> None:
        """Start no further unit; those in flight are still finished and yielded."""


@dataclass(frozen=True)
class Entry:
    """What is known of a launcher.

    Attributes
    ----------
    options : frozenset of str
        Options of :class:`Means` that it takes, besides `jobs` and `device`.
    resolve : callable
        Chooses what was left open.
    make : callable
        From means that are resolved and a folder for scratch files to the launcher.
    label : callable
    """

    options: frozenset[str]
    resolve: Callable[[Means], Means]
    make: Callable[[Means, Path], Launcher]
    label: Callable[[Means], str]


def _resolve_inline(means: Means) -> Means:
    if means.jobs:
        raise BenchError(f"--jobs {means.jobs}: --launcher inline runs in this process alone")
    return replace(means, jobs=0, device=choose_device(means.device))


def _resolve_processes(means: Means) -> Means:
    device = choose_device(means.device)
    if means.jobs == 0:
        raise BenchError("--jobs 0: --launcher processes needs at least one")
    return replace(means, jobs=default_jobs(device) if means.jobs is None else means.jobs, device=device)


def _resolve_ray(means: Means) -> Means:
    if means.jobs == 0:
        raise BenchError("--jobs 0: --launcher ray needs at least one")
    device = means.device
    if device not in DEVICES or (device == "auto" and means.gpus is None):
        device = choose_device(device)  # of this machine, as for processes
    elif device == "auto":
        device = "cuda" if means.gpus else "cpu"
    if device == "cpu" and means.gpus:
        raise BenchError(f"--gpus {means.gpus:g}: not with --device cpu")
    if device == "cuda" and means.gpus == 0:
        raise BenchError("--gpus 0: not with --device cuda")
    gpus = (1.0 if device == "cuda" else 0.0) if means.gpus is None else means.gpus
    return replace(means, device=device, cpus=means.cpus or 1.0, gpus=gpus)


def _make_inline(means: Means, scratch: Path) -> Launcher:
    from bench.launch.inline import Inline

    return Inline(scratch)


def _make_processes(means: Means, scratch: Path) -> Launcher:
    from bench.launch.processes import LocalProcesses

    return LocalProcesses(means.jobs, scratch, means.timeout)


def _make_ray(means: Means, scratch: Path) -> Launcher:
    try:
        from bench.launch.cluster import RayCluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise BenchError("--launcher ray needs Ray, which is not installed: pip install 'ntbench[ray]'") from None
    return RayCluster(means)


def _many(means: Means) -> str:
    return "1 worker" if means.jobs == 1 else f"{means.jobs:,} workers"


def _label_ray(means: Means) -> str:
    gpus = f" and {means.gpus:g} GPU" if means.gpus else ""
    many = "workers" if means.jobs is None else _many(means)
    return f"Ray, {many} of {means.cpus:g} CPU{gpus}"


LAUNCHERS: dict[str, Entry] = {
    "inline": Entry(frozenset(), _resolve_inline, _make_inline, lambda means: "in this process"),
    "processes": Entry(
        frozenset({"timeout"}), _resolve_processes, _make_processes, lambda means: f"{_many(means)} of one thread"
    ),
    "ray": Entry(frozenset({"timeout", "address", "cpus", "gpus"}), _resolve_ray, _make_ray, _label_ray),
}


def make_launcher(means: Means, scratch: Path) -> Launcher:
    """Return the launcher of means that are resolved."""
    return LAUNCHERS[means.launcher].make(means, scratch)
