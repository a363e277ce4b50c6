"""Read a suite from TOML or Python and find everything that is wrong with it in one pass."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError, Problem, SuiteError, closest, nearest
from bench.registry import BACKBONES, MEASURES, TASKS, load_plugin
from bench.suite.choices import read_method
from bench.suite.form import Form, read_form
from bench.suite.lines import with_line
from bench.suite.metrics import check_metric_key
from bench.suite.model import Suite
from bench.suite.shapes import shape_problems
from bench.suite.specs import BackboneSpec, ModelSpec, TaskReader, TaskSpec, missing_file, read_backbone, read_model
from bench.suite.standardise import RULES, check_standardise
from bench.suite.strategies import read_strategies
from bench.suite.weightings import UNIFORM, read_weightings

_ANY_DEPTH = 4  # what takes sources does so whatever the backbone
MAX_SUITE_BYTES = 4_000_000
MAX_DEPTH = 200  # tables within tables
MAX_NUMBER = 2**64
MAX_PROBLEMS = 200  # that are said; of more, how many
MAX_TRIALS = 100_000_000  # more than anybody trains: planning them takes minutes, and a table of them all memory
MAX_MODELS = 1_000_000  # source models, each of which is a file


Further = Callable[[Suite], list[Problem]]


def load_suite(
    source: str | Path | Mapping[str, Any] | Suite,
    plugins: tuple[str, ...] = (),
    *,
    files: bool = True,
    further: Further = lambda suite: [],
) -> Suite:
    """Read and check a suite.

    Parameters
    ----------
    source : path, mapping or Suite
        A TOML file, its content as a dictionary, or a suite built in Python.
    plugins : tuple of str
        Plug-in files to load besides those that the suite names.
    files : bool
        Whether the files of handed-in models must be there; stored rows can be read without them.
    further : callable
        From the suite, or from what of a malformed one is well formed, to more problems, which are said with
        the others.

    Returns
    -------
    Suite

    Raises
    ------
    SuiteError
        With every problem found, each with its place.
    DataError
        When the file is missing, is not TOML, or a plug-in cannot be loaded.
    """
    for plugin in plugins:
        load_plugin(plugin)
    values, where, text = _read(source)
    form = Form(values) if isinstance(values, Suite) else read_form(values)
    suite, problems = form.suite, list(form.problems)
    if suite is None:
        raise _error(where, problems, text)
    try:
        for plugin in suite.plugins:
            load_plugin(suite.resolve(plugin))
    except BenchError as error:
        if not problems:
            raise
        raise _error(where, [*problems, Problem("plugins", str(error))], text) from None
    if plugins:
        everyone = (*suite.plugins, *(str(Path(p).expanduser().resolve()) for p in plugins))
        suite = suite.model_copy(update={"plugins": tuple(dict.fromkeys(everyone))})
    problems += form.others([*check(suite, files, form.unknown_pairs), *further(suite)])
    if problems:
        error = _error(where, list(dict.fromkeys(problems)), text)
        error.suite = form.readable(suite)
        raise error
    return suite


def _read(source: str | Path | Mapping[str, Any] | Suite) -> tuple[Suite | dict[str, Any], str, str]:
    """Return a suite or its values, what messages call it, and its text."""
    if isinstance(source, Suite):
        return source, f'suite "{source.name}"', ""
    if isinstance(source, Mapping):
        _refuse_excess(source, "the suite")
        return dict(source), "the suite", ""
    path = Path(source)
    if os.path.isdir(path):
        raise DataError(f"no suite at {path}: it is a folder")
    if not os.path.isfile(path):
        there = sorted(p.name for p in path.parent.glob("*.toml")) if os.path.isdir(path.parent) else []
        raise DataError(f"no suite at {path}{nearest(path.name, there)}")
    if path.stat().st_size > MAX_SUITE_BYTES:
        raise DataError(f"{path} is larger than {MAX_SUITE_BYTES // 10**6} MB: not a suite")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a byte-order mark in front
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's own errors, and numbers without end
        raise DataError(f"{path} is not valid TOML: {error}") from error
    _refuse_excess(values, str(path))
    return {"name": path.stem, "folder": str(path.resolve().parent), **values}, str(path), text


def _refuse_excess(values: Any, where: str) -> None:
    """Refuse what is nested too deeply to be read, and numbers that are too long to be said.

    Raises
    ------
    DataError
    """
    level = [values]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below += value.values()
            elif isinstance(value, list | tuple):
                below += value
            elif isinstance(value, int) and abs(value) >= MAX_NUMBER:
                raise DataError(f"{where}: a number of {value.bit_length():,} bits; no number here needs more than 64")
        level = below
    if level:
        raise DataError(f"{where}: tables are nested in each other more than {MAX_DEPTH} deep")


def _error(where: str, problems: Sequence[Problem], text: str) -> SuiteError:
    """Build the error of a suite: the first problems with their lines, and how many more there are."""
    said = [with_line(problem, text) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        said.append(Problem("", f"... and {len(problems) - MAX_PROBLEMS:,} more"))
    return SuiteError(where, said)


def check(suite: Suite, files: bool = True, unknown_pairs: Collection[int] = ()) -> list[Problem]:
    """Find every problem of a well-formed suite that shows without reading any data.

    Parameters
    ----------
    files : bool
        As of :func:`load_suite`.
    unknown_pairs : collection of int
        Entries of `pairs` that only stand in for what is malformed.
    """
    problems: list[Problem] = []
    backbones, points = _check_backbones(suite, problems)
    targets = _check_pairs(suite, files, unknown_pairs, problems)
    problems += shape_problems(suite, backbones, targets)
    _check_extent(suite, points, problems)
    for index, name in enumerate(suite.measures):
        try:
            MEASURES.get(name)
        except BenchError as error:
            problems.append(Problem(f"measures[{index}]", str(error)))
    problems += check_metric_key(suite)
    problems += _check_source_methods(suite, complete=not unknown_pairs)
    read_weightings(suite.weighting, problems)
    for field in ("target_sizes", "weighting", "measures"):
        counts = Counter(str(v) for v in getattr(suite, field))
        for value in sorted(value for value, count in counts.items() if count > 1):
            problems.append(Problem(field, f"duplicate value {value}"))
    if not suite.seeds:
        problems.append(Problem("seeds", "at least one seed is needed"))
    return list(dict.fromkeys(problems))


def _takes_sources(value: str | Mapping[str, Any]) -> bool:
    """Whether a strategy, for any depth, takes the examples of sources and copies nothing; a wrong one may."""
    wrong: list[Problem] = []
    return any(strategy.only_examples for strategy in read_strategies((value,), _ANY_DEPTH, wrong)) or bool(wrong)


def _check_source_methods(suite: Suite, complete: bool) -> list[Problem]:
    """Check how source models are trained; whether a name is a source shows where the pairs are `complete`."""
    found = []
    sources = [source for pairs in suite.pairs for source in pairs.all_sources]
    for name, value in suite.source_methods.items():
        place = f"source_methods.{name}"
        known = name in sources if complete else name in suite.tasks or name in TASKS
        if not known or name in suite.models:
            what = "comes trained" if name in suite.models else "is no source of the suite"
            found.append(Problem(place, f'"{name}" {what}{nearest(name, set(sources) - set(suite.models))}'))
        try:
            how = read_method(value, place)
        except BenchError as error:
            found.append(Problem(place, str(error)))
            continue
        asks = {"copied weights": how.copied, "sources": how.sources, "unlabelled target examples": how.unlabelled}
        if wanted := " and ".join(what for what, asked in asks.items() if asked):
            found.append(Problem(place, f'"{how.name}" asks for {wanted}, which a source model is trained without'))
    return found


def _check_extent(suite: Suite, points: int, problems: list[Problem]) -> None:
    """Refuse what a few lines can ask for and no plan can hold; counted from above, axes that collapse included."""
    sources = [source for pairs in suite.pairs for source in pairs.all_sources]
    trials = points * len(sources) * len(suite.weighting) * len(suite.target_sizes) * len(suite.seeds)
    alike = suite.weighting == (UNIFORM,)  # one source model for all targets, then
    models = len(suite.backbones) * suite.n_source_models
    models *= len(set(sources)) if alike else len(sources) * len(suite.weighting)
    for what, count, most in (("trials", trials, MAX_TRIALS), ("source models", models, MAX_MODELS)):
        if count > most:
            problems.append(Problem("pairs", f"expand to {count:,} {what} (limit {most:,}); split the suite"))


def _check_backbones(suite: Suite, problems: list[Problem]) -> tuple[dict[int, BackboneSpec], int]:
    """Check backbones and the strategies for each; return the sound ones and how many points they come to."""
    labels: dict[str, int] = {}
    sound: dict[int, BackboneSpec] = {}
    meant: dict[int, BackboneSpec] = {}
    points = 0
    found: list[Problem] = []
    for index, value in enumerate(suite.backbones):
        spec = read_backbone(value, f"backbones[{index}]", problems)
        if spec is None:
            if other := meant_backbone(value):
                meant.setdefault(other.depth, other)
            continue
        sound[index] = spec
        if spec.label in labels:
            message = f'two backbones are called "{spec.label}"; give one a name = "..."'
            problems.append(Problem(f"backbones[{index}]", message))
        labels[spec.label] = index
        points += len(read_strategies(suite.strategies, spec.depth, found))
    problems += found
    if len(sound) < len(suite.backbones):
        problems += _strategies_beside(suite, found, meant, alone=not sound)
    return sound, points


def _strategies_beside(
    suite: Suite, found: list[Problem], meant: Mapping[int, BackboneSpec], *, alone: bool
) -> Iterator[Problem]:
    """Check strategies where a backbone is wrong: without depth, and with that of one which may be meant.

    Parameters
    ----------
    found : list of Problem
        What is wrong with them for the backbones that are sound.
    meant : mapping of depth to BackboneSpec
    alone : bool
        Whether no backbone is sound.
    """
    shallow, deep = [], []  # what is wrong for both is wrong whatever the backbone
    for depth, wrong in ((4, shallow), (40, deep)):
        read_strategies(suite.strategies, depth, wrong)
    anyhow = [problem for problem in shallow if problem in deep]
    if alone:
        yield from anyhow
    said = {problem.place for problem in found if problem not in anyhow}
    for depth, spec in meant.items():
        wrong = []
        read_strategies(suite.strategies, depth, wrong)
        for problem in wrong:
            if problem not in anyhow and problem.place not in said:
                yield Problem(problem.place, f'{problem.message} (if backbone "{spec.name}" is meant)')
        said |= {problem.place for problem in wrong}


def meant_backbone(value: str | Mapping[str, Any]) -> BackboneSpec | None:
    """Return the backbone that a wrong entry may mean, known under a similar name, with its own arguments."""
    name = value if isinstance(value, str) else value.get("backbone")
    close = closest(name, BACKBONES.names()) if isinstance(name, str) else None
    return read_backbone(close, "", []) if close else None


def _check_pairs(
    suite: Suite, files: bool, unknown_pairs: Collection[int], problems: list[Problem]
) -> dict[str, TaskSpec]:
    """Check tasks, models and pairs; return the targets that are sound."""
    reader = TaskReader(suite, problems)
    for name, table in suite.models.items():
        read_model(suite, name, problems)
        file = table.get("state_dict")
        if files and isinstance(file, str) and (problem := missing_file(ModelSpec(name, str(suite.resolve(file))))):
            problems.append(problem)
        if name in suite.tasks:
            problems.append(Problem(f"models.{name}", f'"{name}" is also a task; rename one'))
    targets: dict[str, TaskSpec] = {}
    for index, pairs in enumerate(suite.pairs):
        target = reader.read(pairs.target, f"pairs[{index}].target")
        targets |= {pairs.target: target} if target and index not in unknown_pairs else {}
        for number, entry in enumerate(pairs.sources or (pairs.source,)):
            place = f"pairs[{index}].sources[{number}]" if pairs.sources else f"pairs[{index}].source"
            for source in (entry,) if isinstance(entry, str) else entry:
                if source not in suite.models:
                    reader.read(source, place)
                elif source != entry:
                    problems.append(Problem(place, f'"{source}" is a model without examples: a set needs those'))
            if not isinstance(entry, str) and not any(map(_takes_sources, suite.strategies)):
                problems.append(Problem(place, 'a set of sources needs a strategy that takes examples: "joint"'))
    for name in suite.tasks:
        reader.read(name, f"tasks.{name}")
    check_standardise(suite, problems)
    if suite.standardise not in (None, *RULES) and suite.standardise in TASKS:
        reader.read(suite.standardise, "standardise")
    return targets
