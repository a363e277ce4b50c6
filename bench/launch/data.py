"""Reading a suite's data: tasks for the workers, cards for the plan, and what they rule out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, Problem, SuiteError
from bench.ledger.model_files import file_digest
from bench.ledger.stored import Stored
from bench.registry import HEADS
from bench.suite.metrics import metric_problems
from bench.suite.model import Recipe, Suite
from bench.suite.plan import Plan, Selection
from bench.suite.ruled_out import ruled_out
from bench.suite.specs import missing_file
from bench.trial import Card, is_array_shape, shape_text

if TYPE_CHECKING:
    from bench.training.protocol import Pool


def read_data(
    suite: Suite, stored: Stored, work: Path, machine: str, selection: Selection, say: Callable[[str], None],
    step: Callable[[], None],
) -> tuple[Plan, list[dict[str, Any]]]:  # fmt: skip
    """Build every task, leave it in the folder `work` for the workers, and check what the data rule out.

    Parameters
    ----------
    machine : {"cpu", "cuda"}
        For which trainings are laid out.
    say, step : callable
        Told what is worth knowing, and of each task.

    Returns
    -------
    plan : Plan
        With the cards of all tasks.
    records : list of dict
        Of the cards and contents that are new, for the ledger.

    Raises
    ------
    SuiteError
        With everything that cannot be.
    """
    from bench.tasks.build import build_task, card_of, save_task
    from bench.training.protocol import Pool

    plan = Plan(suite)
    cards: dict[str, Card] = {}
    problems: list[Problem] = []
    pools, records = {}, []
    for name, spec in plan.tasks.items():
        try:
            task = build_task(spec, suite.root())
        except BenchError as error:
            problems.append(Problem(f'task "{name}"', str(error).removeprefix(f"{name}: ")))
            continue
        card = cards[spec.digest] = card_of(task)
        path = work / f"{card.fingerprint}.safetensors"
        if not path.exists():
            save_task(task, path)
        pools[name] = Pool.of(task, look=looks(suite))
        known = Card.from_json(stored.cards[spec.digest]) if spec.digest in stored.cards else None
        if known is None or known.to_json() != card.to_json():
            if known not in (None, card):
                say(f'the data of "{name}" are not those of the stored rows: their trials will be run again')
            records.append({"kind": "task", "key": spec.digest, "card": card.to_json()})
        step()
    contents = _read_models(plan, stored, records, problems, say)
    plan = Plan(suite, cards, machine, contents)
    problems += check_data(plan, pools, selection)
    if problems:
        raise SuiteError(f'suite "{suite.name}"', problems)
    for note in notes(plan, pools):
        say(note)
    return plan, records


def looks(suite: Suite) -> bool:
    """Whether a validation split that comes with data is used, so that it must not be in the test set."""
    return "given" in (suite.recipe.validation, suite.source_recipe.validation)


def _read_models(
    plan: Plan, stored: Stored, records: list[dict[str, Any]], problems: list[Problem], say: Callable[[str], None]
) -> dict[str, str]:
    """Return what the files of handed-in models hold, by digest; note what is new, and files that are not there."""
    contents = {}
    for name, spec in plan.models.items():
        if (problem := missing_file(spec)) is not None:
            problems.append(problem)
        elif spec.state_dict is not None:
            content = contents[spec.digest] = file_digest(Path(spec.state_dict))
            known = stored.contents.get(spec.digest)
            if known not in (None, content):
                say(f'the file of "{name}" is not that of the stored rows: their trials will be run again')
            if known != content:
                records.append({"kind": "model", "key": spec.digest, "name": name, "content": content})
    return contents


def notes(plan: Plan, pools: Mapping[str, Pool]) -> list[str]:
    """Say what is done to the data that their files do not say: cuts with their counts, splits left unused.

    Parameters
    ----------
    plan : Plan
        With the cards of all tasks.
    pools : mapping of Pool
        Of the tasks.

    Returns
    -------
    list of str
        Each with the names of the tasks that it holds for.
    """
    suite, said = plan.suite, {}
    for name in plan.tasks:
        recipes = [suite.recipe] if name in plan.targets else []
        if name in plan.all_sources():
            recipes.append(suite.source_recipe)
        for note in [*plan.card(name).notes, *_validation(plan, name, pools[name], recipes)]:
            said.setdefault(note, []).append(name)
    return [f"{', '.join(names)}: {note}" for note, names in said.items()]


def _validation(plan: Plan, name: str, pool: Pool, recipes: Sequence[Recipe]) -> Iterator[str]:
    """Say where the validation data of a task come from."""
    from bench.training.protocol import split_pool

    used = [recipe for recipe in recipes if recipe.validation == "given"]
    if pool.given and used:
        shared = f", {pool.leaked:,} of them in the test set too" if pool.leaked else ""
        yield f"validation: the {pool.given:,} examples of the given split{shared}"
    elif pool.given:
        yield (
            f'the given validation split of {pool.given:,} examples is not used: validation = "given" in the recipe '
            "uses it as such, merge_val = true adds it to the train pool"
        )
    if name not in plan.targets or plan.suite.recipe.validation != "cut":
        return
    card, seed, cuts = plan.card(name), plan.suite.seeds[0], []
    for size in plan.sizes(name):
        split = split_pool(pool, card.fingerprint, size, seed, plan.suite.recipe, card.classes)
        cuts.append(f"{len(split.validation):,} of {size:,}")
    whole = f", whole groups (seed {seed})" if pool.groups is not None else ""
    yield f"validation: {', '.join(cuts)} labelled examples cut off{whole}"


def check_data(plan: Plan, pools: Mapping[str, Pool], selection: Selection) -> list[Problem]:
    """Find sizes, classes, shapes and splits that cannot be, before anything is trained.

    Parameters
    ----------
    pools : mapping of Pool
        Of the tasks.
    """
    from bench.tasks.fit import problem
    from bench.training.protocol import split_pool

    problems = ruled_out(plan) + metric_problems(plan, {name: pool.test for name, pool in pools.items()})
    for target in plan.targets:
        card = plan.card(target)
        if card is None:
            continue
        for source in plan.sources_of(target):
            other = plan.card(source)
            why = problem(other.shape, plan.input_shape(target)) if other else None
            if why is None and other:
                why = _torn_from_targets(other, plan.input_shape(target))
            if why:
                problems.append(Problem(f"pair {source} -> {target}", why))
        if why := _torn_from_targets(card, plan.input_shape(target)):
            problems.append(Problem(f'target "{target}"', why))
        if plan.suite.recipe.validation == "given" and (why := _leak(card, pools[target])):
            problems.append(Problem(f'target "{target}"', why))
        before = list(problems)
        for size, number in zip(plan.suite.target_sizes, plan.sizes(target), strict=True):
            if _spoilt(before, f'target "{target}"', f'target "{target}", size {size}'):
                continue
            for seed in plan.suite.seeds:
                try:
                    split_pool(pools[target], card.fingerprint, number, seed, plan.suite.recipe, card.classes)
                except BenchError as error:
                    problems.append(Problem(f'target "{target}"', str(error)))
                    break
    for source in plan.all_sources():
        card, pool, recipe = plan.card(source), pools.get(source), plan.suite.source_recipe
        if card and pool and recipe.validation == "given" and (why := _leak(card, pool)):
            problems.append(Problem(f'source "{source}"', why))
        plain = pool is not None and pool.groups is None and recipe.validation != "given"
        if card is None or pool is None or plain or _spoilt(problems, f'source "{source}"'):
            continue  # a plain cut of a whole pool succeeds wherever there is a task
        for seed in dict.fromkeys(map(plan.suite.source_seed, plan.suite.seeds)):
            try:
                split_pool(pool, card.fingerprint, card.n_train, seed, recipe, card.classes)
            except BenchError as error:
                problems.append(Problem(f'source "{source}"', str(error)))
                break
    return list(dict.fromkeys(problems))


def _spoilt(problems: list[Problem], *places: str) -> bool:
    """Whether something is wrong in one of the places, so that no split can be expected."""
    return any(problem.place in places for problem in problems)


def _torn_from_targets(card: Card, shape: tuple[Any, ...]) -> str | None:
    """Say why a task's images cannot be brought to another shape: targets that lie in them would not follow."""
    if card.shape == shape or HEADS.get(card.kind).function.lanes:
        return None
    return (
        f"the {card.kind} targets would not follow its images from {shape_text(card.shape)} to {shape_text(shape)}; "
        "make the task at that size, and leave image_size out"
    )


def _leak(card: Card, pool: Pool) -> str | None:
    """Say why a given validation split cannot be used: the test set has examples of it.

    Rows of tables and texts may repeat by chance, images do not.
    """
    from bench.tasks.contract import MAX_LEAK

    allowed = 0 if is_array_shape(card.shape, 3) else MAX_LEAK * pool.given
    if pool.leaked <= allowed:
        return None
    return (
        f"{pool.leaked:,} of the {pool.given:,} examples of the given validation split are in the test set too, which "
        'must choose nothing; take them out, or leave validation = "given" out'
    )
