"""``ntbench show``: what the tasks of a pair look like, and how near they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import Plugins, read_suite, run_folder
from bench.trial import SINGLE_LABEL, Card, is_array_shape, shape_text

if TYPE_CHECKING:
    from bench.suite import Suite
    from bench.suite.specs import TaskSpec
    from bench.tasks.base import Task


def show(
    pair: Annotated[
        str, typer.Argument(metavar="PAIR", help="'source->target' (quoted), or one task.", show_default=False)
    ],
    suite: Annotated[
        Path | None,
        typer.Option("--suite", metavar="SUITE", help="Suite whose tasks are meant, if not registered ones."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Run folder with measured similarities.  [default: the suite's]"),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Where the picture goes.  [default: PAIR.png here]")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Draw samples of a pair, print its similarity.

    Writes a picture of each class's examples at the shape that networks see, and prints shapes, class
    counts and, where source models have been trained, the measures of similarity with their 95 % intervals.
    Of a source model that is handed in, which has no data, the target alone is drawn. Where source examples
    were weighted, pictures of their weights are written beside it.
    """
    from bench.registry import load_plugin
    from bench.report.style import slug
    from bench.tasks.build import build_task

    source, target = _ends(pair)
    names = [source, target] if source else [target]
    for path in plugin or ():
        load_plugin(path)
    loaded = read_suite(suite, None, plugin) if suite else _suite_of(names)
    handed_in = source in loaded.models
    specs = _specs(loaded, names[handed_in:])
    tasks = {name: build_task(spec, loaded.root()) for name, spec in specs.items()}
    if handed_in:
        _describe_model(loaded, source, tasks[target])
    for name, task in tasks.items():
        _describe(name, task)
        _say_crop(loaded, name, task, tasks[target])
    seen: Mapping[str, Task] = tasks
    if source:
        if not handed_in:
            _say_fit(loaded, tasks[source], tasks[target])
            seen = _standardised(loaded, specs, tasks, source, target)
        folder = run_folder(loaded, out) if suite or out else None
        _say_similarity(source, target, folder, suite)
    if any(task.is_mapping for task in seen.values()):
        print("no picture: inputs that are mappings have none")
        return
    picture = _draw(loaded, seen, target, png or Path(slug("-to-".join(names)) + ".png"))
    print(f"picture: {picture}")
    if source and not handed_in and (suite or out):
        _draw_weights(run_folder(loaded, out), source, target, tasks[source], picture)


def _ends(pair: str) -> tuple[str | None, str]:
    """Split "source->target"; a name alone has no source."""
    from bench.errors import BenchError

    source, arrow, target = (part.strip() for part in pair.partition("->"))
    if not arrow and source.endswith("-"):
        raise BenchError(f'{pair}: quote the pair, the shell takes ">" for a redirection')
    if arrow and not (source and target):
        raise BenchError(f'"{pair}" is no pair; write "source->target", or the name of one task')
    return (source, target) if arrow else (None, source)


def _suite_of(names: list[str]) -> Suite:
    """Return a suite of registered tasks, as if written for this pair alone."""
    from bench.suite import Suite

    return Suite.model_validate({"target_sizes": [1], "pairs": [{"target": names[-1], "source": names[0]}]})


def _specs(suite: Suite, names: list[str]) -> Mapping[str, TaskSpec]:
    """Return what the names mean in a suite.

    Raises
    ------
    BenchError
        For a name that is no task, or a source model that has no data.
    """
    from bench.errors import BenchError, Problem
    from bench.suite.specs import TaskReader

    problems: list[Problem] = []
    reader = TaskReader(suite, problems)
    found = {}
    for name in names:
        if name in suite.models:
            raise BenchError(f'"{name}" is a source model that is handed in, no task; write "{name}->TARGET"')
        found[name] = reader.read(name, "")
    if problems:
        of_suite = "" if suite.tasks else "; give --suite FILE for a task of a suite"
        raise BenchError("\n".join(dict.fromkeys(f"{problem}{of_suite}" for problem in problems)))
    return found


def _describe_model(suite: Suite, name: str, target: Task) -> None:
    """Print what is known of a source model that is handed in, and what networks see."""
    from bench.suite.plan import Plan

    given = Plan(suite).models[name]
    where = f"published weights {given.weights}" if given.weights else f"state dict {given.state_dict}"
    print(f"{name}: source model that is handed in ({where}); its data are not known")
    if given.classes:
        shared = sum(label in given.classes for label in target.classes)
        print(f"  {len(given.classes)} classes, among them {shared} of the target's {len(target.classes)}")
    print(f"networks see: {_shape_text(_input_shape(suite, target))}")


def _describe(name: str, task: Task) -> None:
    """Print a task's shape, sizes and classes."""
    from bench.tasks.build import card_of
    from bench.trial import counts_text

    kind = "image, C x H x W" if task.is_image else "token ids" if task.vocabulary else "table row"
    of = "mapping" if task.is_mapping else f"{kind}, {task.x.dtype}"
    print(f"{name}: {_shape_text(task.shape)} ({of})")
    card = card_of(task)
    size = f"  {len(task.y):,} train, {len(task.y_test):,} test; "
    if card.class_counts:
        what = "classes" if card.kind == SINGLE_LABEL else "labels"
        print(f"{size}{len(task.classes)} {what}, train + test examples:")
        print(f"  {counts_text(card.classes, card.class_counts, card.test_counts)}")
    else:
        print(f"{size}{': '.join(filter(None, [card.kind, ', '.join(card.classes)]))}")
    for further, n in card.further:
        print(f"  {n:,} examples in the further test set {further}")
    held = f"  {task.n_val:,} examples in a given validation split"
    if task.n_val:
        print(f'{held}: used by suites that say validation = "given"')
    if card.n_groups:
        print(f"  {card.n_groups:,} groups in the train pool, which no cut tears apart")
    for note in task.notes:
        print(f"  {note}")
    if card.majority_accuracy is not None:
        _say_majority(card)
    if task.flags().any():
        print(f"  {int(task.flags().sum()):,} train examples ({task.flags().mean():.0%}) spoilt on purpose")


def _say_majority(card: Card) -> None:
    """Say what always predicting one class would score."""
    equal = " (the first of equals)" if card.class_counts.count(max(card.class_counts)) > 1 else ""
    majority = f"{card.classes[card.majority]}, the train pool's largest class{equal}"
    print(f"  always predicting {majority}, scores {card.majority_accuracy:.1%} on the test set")


def _shape_text(shape: tuple[Any, ...]) -> str:
    return f"{shape[0]} columns" if is_array_shape(shape, 1) else shape_text(shape)


def _input_shape(suite: Suite, target: Task) -> tuple[int, ...]:
    size = suite.image_size
    return (target.shape[0], size, size) if size and target.is_image else target.shape


def _say_crop(suite: Suite, name: str, task: Task, target: Task) -> None:
    """Say which part of a task's images networks see, where they are brought to another shape."""
    from bench.tasks.fit import centre, problem

    shape = _input_shape(suite, target)
    if task.shape == shape or problem(task.shape, shape):
        return
    kept = [part.stop - part.start for part in centre(task.shape[1:], shape[1:])]
    part = f"their centre of {kept[0]} x {kept[1]}" if tuple(kept) != task.shape[1:] else "them whole"
    print(f"  networks see {part}, brought to {_shape_text(shape)}")


def _say_fit(suite: Suite, source: Task, target: Task) -> None:
    """Say what shape networks see, or why the two cannot meet, and which classes they share."""
    from bench.tasks.fit import problem

    shape = _input_shape(suite, target)
    why = problem(source.shape, shape)
    print(f"networks see: {_shape_text(shape)}" if why is None else f"cannot meet: {why}")
    if source.kind != target.kind:
        print(f"the source is {source.kind}, the target {target.kind}: a head cannot be kept")
        return
    shared = [name for name in target.classes if name in source.classes]
    which = {len(target.classes): "all", 0: "none"}.get(len(shared), str(len(shared)))
    what = {SINGLE_LABEL: "classes", "multi-label": "labels"}.get(target.kind, "values")
    print(f"of the target's {len(target.classes)} {what}, the source has {which}")


def _standardised(
    suite: Suite, specs: Mapping[str, TaskSpec], tasks: Mapping[str, Task], source: str, target: str
) -> dict[str, Task]:
    """Return a pair's tasks as networks see them; of tables, say whose train pool standardises them."""
    from bench.suite import Plan
    from bench.tasks.build import build_task, card_of
    from bench.tasks.standardise import standardise

    seen = dict(tasks)
    if len({task.shape for task in tasks.values()}) > 1 or tasks[target].is_image:
        return seen
    named = Plan(suite).tasks.get(suite.standardise or "")
    specs, tasks = dict(specs), dict(tasks)
    if named and named.name not in tasks:
        specs[named.name], tasks[named.name] = named, build_task(named, suite.root())
    plan = Plan(suite, {specs[name].digest: card_of(task) for name, task in tasks.items()})
    by = {name: plan.standardised_by(name, target) for name in seen}
    for name in filter(by.get, seen):
        seen[name] = standardise(tasks[name], tasks[by[name]])
    if len(set(by.values())) > 1:
        alone = ", ".join(f"{name} by {'none' if other is None else 'its own'}" for name, other in by.items())
        print(f"inputs: standardised one by one ({alone}): a shift between the two is erased")
    elif by[target] is None:
        print("inputs: both tables as they are, not standardised")
    else:
        print(f"inputs: both tables standardised by the train pool of {by[target]}")
    return seen


def _say_similarity(source: str, target: str, folder: Path | None, suite: Path | None) -> None:
    """Print the measured similarity of a pair, or why there is none yet."""
    import math

    from bench.cli.wording import counted
    from bench.schema import ENDS, near_is_low, similarity_columns
    from bench.stats.nearness import similarity_means

    rows = _rows(folder, source, target)
    measures = [] if rows is None else [m for m in similarity_columns(rows) if rows[m].notna().any()]
    if not measures and rows is not None and len(rows):
        print("similarity: none of the measures can do without the source's data or its model's classes")
        return
    if not measures:
        command = f"ntbench run {suite or 'SUITE'} --where 'pair={source}->{target}'"
        print(f"similarity: not measured yet; it is, with trained source models, by {command}")
        return
    for backbone, part in rows.groupby("backbone"):
        models = counted(part["source_seed"].nunique(), "source model", "source models")
        print(f"similarity ({backbone}, mean over {models}, 95 % interval):")
        means = similarity_means(part, ["backbone"], measures).iloc[0]
        for measure in measures:
            nearer = "low is near" if near_is_low(measure) else "high is near"
            ends = [means.get(measure + end, math.nan) for end in ENDS]
            within = " [{:.3g}, {:.3g}]".format(*ends) if not math.isnan(sum(ends)) else ""
            print(f"  {measure.replace('_', '-')} {means[measure]:.3g}{within} ({nearer})")


def _rows(folder: Path | None, source: str, target: str):  # noqa: ANN202 - pandas is not imported here
    """Return one row a source model of the pair, or None where nothing is stored."""
    from bench.ledger.file import ledgers
    from bench.ledger.results import PARQUET, load_results

    if folder is None or not (folder.is_dir() and (ledgers(folder) or (folder / PARQUET).is_file())):
        return None
    rows = load_results(folder)
    rows = rows[(rows["source"] == source) & (rows["target"] == target)]
    return rows.drop_duplicates(["suite", "backbone", "weighting", "source_seed"])


def _draw(suite: Suite, tasks: Mapping[str, Task], target: str, path: Path) -> Path:
    """Draw the sheet, at the shape that networks see, and return where it was written."""
    from bench.errors import StoreError
    from bench.report.samples import sample_sheet
    from bench.tasks.fit import fit, problem

    shape = _input_shape(suite, tasks[target])
    seen = {name: task if problem(task.shape, shape) else fit(task, shape) for name, task in tasks.items()}
    try:
        sample_sheet(seen).savefig(path, format="png", dpi=150)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return path


def _draw_weights(folder: Path, source: str, target: str, task: Task, beside: Path) -> None:
    """Draw what the source's examples weighed, where a run has kept that; print where the pictures are."""
    from bench.errors import DataError, StoreError
    from bench.ledger.example_weights import load_weights
    from bench.ledger.file import ledgers
    from bench.report import weights_figure, weights_look

    if not (folder.is_dir() and ledgers(folder)):
        return

    def of_pair(history: bool):  # noqa: ANN202 - pandas is not imported here
        every = load_weights(folder, history)
        of_target = every["target"].isna() | (every["target"] == target)
        return every[(every["source"] == source) & of_target & ~every["joint"].astype(bool)]

    weights = of_pair(False)
    if weights.empty:
        return
    pictures = {
        "weights": lambda: weights_figure.example_weights(weights),
        "weights-over-training": lambda: weights_look.weights_over_training(of_pair(True)),
        "weights-by-class": lambda: weights_look.weights_by_class(weights, task.classes),
        "weighted-images": lambda: weights_look.weighted_images(weights, task),
    }
    for name, draw in pictures.items():
        path = beside.with_name(f"{beside.stem}-{name}.png")
        try:
            draw().savefig(path, format="png", dpi=200)
        except DataError as why:
            print(f"no {name}.png: {why}")
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        else:
            print(f"picture: {path}")
