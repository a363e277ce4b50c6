"""Read a suite from TOML or Python and find everything that is wrong with it in one pass."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.errors import BenchError, DataError, Problem, SuiteError, closest, nearest
from bench.registry import BACKBONES, MEASURES, TASKS, load_plugin
from bench.suite.choices import read_method
from bench.suite.lines import with_line
from bench.suite.metrics import check_metric_key
from bench.suite.model import Pairs, Recipe, Statistics, Suite
from bench.suite.shapes import shape_problems
from bench.suite.specs import BackboneSpec, TaskReader, TaskSpec, missing_file, read_backbone, read_model
from bench.suite.standardise import RULES, check_standardise
from bench.suite.strategies import read_strategies
from bench.suite.weightings import UNIFORM, read_weightings

_TABLES: dict[str, type[BaseModel]] = {
    "": Suite, "recipe": Recipe, "source_recipe": Recipe, "statistics": Statistics, "pairs": Pairs,
}  # fmt: skip
_ANY_DEPTH = 4  # what takes sources does so whatever the backbone
MAX_SUITE_BYTES = 4_000_000
MAX_DEPTH = 200  # tables within tables
MAX_NUMBER = 2**64
MAX_PROBLEMS = 50  # that are said; of more, how many
MAX_SHOWN = 200  # characters of a value in a message
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
    suite, where, text = _parse(source, further)
    for plugin in suite.plugins:
        load_plugin(suite.resolve(plugin))
    if plugins:
        everyone = (*suite.plugins, *(str(Path(p).expanduser().resolve()) for p in plugins))
        suite = suite.model_copy(update={"plugins": tuple(dict.fromkeys(everyone))})
    problems = [*check(suite, files), *further(suite)]
    if problems:
        error = _error(where, problems, text)
        error.suite = suite
        raise error
    return suite


def _parse(source: str | Path | Mapping[str, Any] | Suite, further: Further) -> tuple[Suite, str, str]:
    if isinstance(source, Suite):
        return source, f'suite "{source.name}"', ""
    if isinstance(source, Mapping):
        return _validate(dict(source), "the suite", "", further), "the suite", ""
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
    values = {"name": path.stem, "folder": str(path.resolve().parent), **values}
    return _validate(values, str(path), text, further), str(path), text


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


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _error(where: str, problems: Sequence[Problem], text: str) -> SuiteError:
    """Build the error of a suite: the first problems with their lines, and how many more there are."""
    said = [with_line(problem, text) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        said.append(Problem("", f"... and {len(problems) - MAX_PROBLEMS:,} more"))
    return SuiteError(where, said)


def _validate(values: dict[str, Any], where: str, text: str, further: Further) -> Suite:
    _refuse_excess(values, where)
    try:
        return Suite.model_validate(values)
    except ValidationError as error:
        items = error.errors(include_url=False)
        mine = [item for item in items if not _follows(item)]
        problems = _translate(mine[: 10 * MAX_PROBLEMS])
        problems += _problems_of_rest(values, items, further)
        raise _error(where, list(dict.fromkeys(problems)), text) from None


def _follows(item: Mapping[str, Any]) -> bool:
    """Whether an error only follows from others: a list is too short because its items were wrong."""
    return item["type"] == "too_short" and bool(item.get("input"))


# What stands in for an entry that is missing or wrong, so that the others can be checked.
_SOUND = {"target": "digits", "source": "digits"}
_STAND_INS = {"pairs": _SOUND, "tasks": "digits", "strategies": "scratch"}


def _problems_of_rest(values: dict[str, Any], items: list[Any], further: Further) -> list[Problem]:
    """Check what of a malformed suite is well formed, so that all of its mistakes are said at once."""
    wrong = {item["loc"][0] for item in items if item["loc"]}
    rest = {key: value for key, value in values.items() if key not in wrong}
    for key in wrong & set(_STAND_INS):
        spoilt = {item["loc"][1] for item in items if item["loc"][0] == key and len(item["loc"]) > 1}
        if spoilt:
            entries = values[key]
            places = entries if isinstance(entries, Mapping) else range(len(entries))
            sound = {place: _STAND_INS[key] if place in spoilt else entries[place] for place in places}
            rest[key] = sound if isinstance(entries, Mapping) else list(sound.values())
    rest.setdefault("target_sizes", [1])
    rest["pairs"] = rest.get("pairs") or [_SOUND]
    try:
        suite = Suite.model_validate(rest)
        for plugin in suite.plugins:
            load_plugin(suite.resolve(plugin))
    except (ValidationError, BenchError):
        return []  # said once the form is right
    return [*check(suite), *further(suite)]


# What TOML calls the forms that pydantic asks for.
_FORMS = {
    "string_type": "text", "dict_type": "a table", "model_type": "a table", "tuple_type": "a list",
    "int_type": "a whole number", "int_from_float": "a whole number", "int_parsing": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "bool_type": "true or false",
    "bool_parsing": "true or false",
}  # fmt: skip


def _translate(items: list[Any]) -> list[Problem]:
    """Turn pydantic's errors into problems that name the place, the value and what is allowed."""
    forms: dict[str, list[str]] = {}
    problems: dict[str, Problem] = {}
    for number, item in enumerate(items):
        place, table = _place(item["loc"])
        form = _FORMS.get(item["type"])
        if form is None:
            problems[f"{place} {number}"] = _problem(place, table, item)
            continue
        # Where one of several forms is allowed, each that does not fit is an error of its own.
        allowed = forms.setdefault(place, [])
        if form not in allowed:
            allowed.append(form)
        problems[place] = Problem(place, f"must be {' or '.join(allowed)}, got {_shown(item.get('input'))}")
    return list(problems.values())


def _place(loc: tuple[Any, ...]) -> tuple[str, str]:
    """Return where an error stands, and the table that this is in."""
    place, table = "", ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part in ("str", "int", "dict[str,any]") or part.startswith(("function-", "constrained-", "dict[")):
            continue
        else:
            table = place.partition("[")[0]
            place += f".{part}" if place else part
    return place, table


def _problem(place: str, table: str, item: Mapping[str, Any]) -> Problem:
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        key = str(item["loc"][-1])
        known = (_TABLES.get(table) or Suite).model_fields
        hint = nearest(key, known) or f"; allowed: {', '.join(k for k in known if k != 'folder')}"
        return Problem(place, f'unknown key "{key}"{hint}')
    if kind == "missing":
        return Problem(place, "is missing")
    if kind == "value_error":
        return Problem(place, message)
    if kind == "string_pattern_mismatch":
        message = "must be letters, digits, dots, hyphens and underscores, a letter or digit first"
    return Problem(place, f"{message.replace('Input should be', 'must be')}, got {_shown(item.get('input'))}")


def check(suite: Suite, files: bool = True) -> list[Problem]:
    """Find every problem of a well-formed suite that shows without reading any data; `files` as of `load_suite`."""
    problems: list[Problem] = []
    backbones, points = _check_backbones(suite, problems)
    targets = _check_pairs(suite, files, problems)
    problems += shape_problems(suite, backbones, targets)
    _check_extent(suite, points, problems)
    for index, name in enumerate(suite.measures):
        try:
            MEASURES.get(name)
        except BenchError as error:
            problems.append(Problem(f"measures[{index}]", str(error)))
    problems += check_metric_key(suite)
    problems += _check_source_methods(suite)
    read_weightings(suite.weighting, problems)
    for field in ("target_sizes", "weighting", "measures"):
        counts = Counter(str(v) for v in getattr(suite, field))
        for value in sorted(value for value, count in counts.items() if count > 1):
            problems.append(Problem(field, f"duplicate value {value}"))
    if not suite.seeds:
        problems.append(Problem("seeds", "at least one seed is needed"))
    return list(dict.fromkeys(problems))


def _takes_sources(value: str | Mapping[str, Any]) -> bool:
    """Whether a strategy, for any depth, takes the examples of sources and copies nothing."""
    return any(strategy.only_examples for strategy in read_strategies((value,), _ANY_DEPTH, []))


def _check_source_methods(suite: Suite) -> list[Problem]:
    """Check how source models are trained."""
    found = []
    sources = [source for pairs in suite.pairs for source in pairs.all_sources]
    for name, value in suite.source_methods.items():
        place = f"source_methods.{name}"
        if name not in sources or name in suite.models:
            what = "comes trained" if name in suite.models else "is no source of the suite"
            found.append(Problem(place, f'"{name}" {what}{nearest(name, set(sources) - set(suite.models))}'))
        try:
            how = read_method(value, place)
        except BenchError as error:
            found.append(Problem(place, str(error)))
            continue
        asks = {"copied weights": how.copied, "sources": how.sources, "unlabelled target examples": how.unlabelled}
        if wanted := next((what for what, asked in asks.items() if asked), None):
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
    points = 0
    for index, value in enumerate(suite.backbones):
        spec = read_backbone(value, f"backbones[{index}]", problems)
        if spec is None:
            continue
        sound[index] = spec
        if spec.label in labels:
            message = f'two backbones are called "{spec.label}"; give one a name = "..."'
            problems.append(Problem(f"backbones[{index}]", message))
        labels[spec.label] = index
        points += len(read_strategies(suite.strategies, spec.depth, problems))
    if not sound:
        problems += _strategies_alone(suite)
    return sound, points


def _strategies_alone(suite: Suite) -> list[Problem]:
    """Check strategies where no backbone is sound: with the depth of one that may be meant, else without depth."""
    meant = _meant_backbone(suite)
    shallow, deep = 4, 40  # what is wrong for both is wrong whatever the backbone
    found: dict[int, list[Problem]] = {}
    for depth in (shallow, deep, *([meant.depth] if meant else [])):
        read_strategies(suite.strategies, depth, found.setdefault(depth, []))
    anyhow = [problem for problem in found[shallow] if problem in found[deep]]
    if meant is None:
        return anyhow
    with_depth = [problem for problem in found[meant.depth] if problem not in anyhow]
    return [*anyhow, *(Problem(p.place, f'{p.message} (if backbone "{meant.name}" is meant)') for p in with_depth)]


def _meant_backbone(suite: Suite) -> BackboneSpec | None:
    """Return the first backbone that is known under a similar name, with its own arguments."""
    for value in suite.backbones:
        name = value if isinstance(value, str) else value.get("backbone")
        close = closest(name, BACKBONES.names()) if isinstance(name, str) else None
        spec = read_backbone(close, "", []) if close else None
        if spec is not None:
            return spec
    return None


def _check_pairs(suite: Suite, files: bool, problems: list[Problem]) -> dict[str, TaskSpec]:
    """Check tasks, models and pairs; return the targets that are sound."""
    reader = TaskReader(suite, problems)
    for name in suite.models:
        spec = read_model(suite, name, problems)
        if spec is not None and files and (problem := missing_file(spec)):
            problems.append(problem)
        if name in suite.tasks:
            problems.append(Problem(f"models.{name}", f'"{name}" is also a task; rename one'))
    targets: dict[str, TaskSpec] = {}
    for index, pairs in enumerate(suite.pairs):
        target = reader.read(pairs.target, f"pairs[{index}].target")
        targets |= {pairs.target: target} if target else {}
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
