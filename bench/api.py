"""What Python code calls: run a suite, get its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.suite import Plan, Selection, Suite, load_suite, parse_seeds
from bench.suite.model import MAX_SEED

if TYPE_CHECKING:
    import pandas as pd

    from bench.launch.driver import Progress


def run(
    suite: str | Path | Mapping[str, Any] | Suite,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    seeds: Iterable[int] | int | str | None = None,
    where: Iterable[str] = (),
    device: str = "auto",
    retry_failed: bool = False,
    plugins: Iterable[str | Path] = (),
    progress: Progress | None = None,
    launcher: str | None = None,
    timeout: float | None = None,
    shard: str | None = None,
    address: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
) -> pd.DataFrame:
    """Run what is missing of a suite and return its table.

    Parameters
    ----------
    suite : path, mapping or Suite
        A TOML file, its content as a dictionary, or a suite built in Python.
    out : path, optional
        Run folder; ``runs/<name of the suite>`` by default. Running again resumes.
    jobs : int, optional
        Worker processes of one thread each; 0 runs in this process; one a core by default. The table
        does not depend on it.
    seeds : count, list or range, optional
        Instead of the suite's.
    where : iterable of str
        Conditions such as ``"strategy=fine-tune"`` or ``"pair=noise->digits"``.
    device : {"auto", "cpu", "cuda"}
    retry_failed : bool
        Whether trials that failed before are run again.
    plugins : iterable of path
        Plug-in files to load.
    progress : Progress, optional
        Told what goes on; nobody by default.
    launcher : {"inline", "processes", "ray"}, optional
        Where trials run: in this process, in local worker processes (the default, unless `jobs` is 0) or on a
        Ray cluster.
    timeout : float, optional
        Seconds that a trial, a source model or a measurement may take before it counts as failed.
    shard : str, optional
        A share of the trials, such as "2/8"; its folder is ``runs/<name of the suite>-shard-2-of-8`` by default.
    address, cpus, gpus : optional
        Of the Ray cluster, and what a worker takes there (1 CPU by default; fractions of a GPU are shares of it).

    Returns
    -------
    DataFrame
        As :func:`bench.load_results` gives it, of this suite as it now reads.

    Raises
    ------
    BenchError
        For a suite, data or a folder that cannot be used. Failed trials raise nothing: they are rows.
    """
    from bench.launch.driver import run_suite
    from bench.launch.means import Means
    from bench.launch.shards import Shard
    from bench.suite.results import results_of

    loaded = load_suite(suite, tuple(str(p) for p in plugins))
    if seeds is not None:
        loaded = with_seeds(loaded, seeds)
    share = None if shard is None else Shard.parse(shard)
    out = Path("runs") / f"{loaded.name}{share.suffix if share else ''}" if out is None else out
    conditions = list(where)
    run_suite(
        loaded,
        out,
        Means(launcher, jobs, device, timeout, address, cpus, gpus),
        shard=share,
        select=lambda plan: Selection.parse(conditions, plan),
        retry_failed=retry_failed,
        progress=progress,
    )
    return results_of(loaded, out)


def with_seeds(suite: Suite, seeds: Iterable[int] | int | str) -> Suite:
    """Return the suite with other seeds.

    Raises
    ------
    ValueError
        For text that is neither a seed nor a range, and for seeds that cannot be.
    """
    if isinstance(seeds, int):
        chosen = tuple(range(seeds))
    else:
        chosen = parse_seeds(seeds) if isinstance(seeds, str) else tuple(int(s) for s in seeds)
    if not chosen or not 0 <= min(chosen) <= max(chosen) <= MAX_SEED:
        raise ValueError(f"seeds = {seeds!r}: at least one is needed, each from 0 to {MAX_SEED}")
    return suite.model_copy(update={"seeds": chosen})


def plan(suite: str | Path | Mapping[str, Any] | Suite, out: str | Path | None = None) -> Plan:
    """Return a suite's plan with what the run folder `out` knows of its tasks."""
    from bench.ledger.stored import read_stored

    loaded = load_suite(suite)
    return Plan(loaded) if out is None else Plan.of(loaded, read_stored(out))
