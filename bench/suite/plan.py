"""Expand a suite to source models and trials, lazily, without reading data or importing torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.errors import BenchError, DataError, Problem, nearest
from bench.identity import digest
from bench.model_files import file_digest
from bench.registry import WEIGHTINGS
from bench.suite.model import Suite, parse_seeds, size_in_all
from bench.suite.specs import (
    BackboneSpec,
    ModelSpec,
    TaskReader,
    TaskSpec,
    read_backbone,
    read_model,
    read_strategies,
)
from bench.transfer.strategy import Strategy
from bench.trial import SCHEMA_VERSION, Card, SourceModel, Trial, combine

_CONDITIONS = {
    "source": "sources",
    "target": "targets",
    "backbone": "backbones",
    "strategy": "strategies",
    "weighting": "weightings",
    "size": "sizes",
    "seed": "seeds",
}


@dataclass(frozen=True)
class Selection:
    """Which of a suite's trials are meant: every given set must hold the trial's value.

    Scratch trials are kept for every target that a selection leaves, whatever source it names.
    """

    sources: frozenset[str] | None = None
    targets: frozenset[str] | None = None
    backbones: frozenset[str] | None = None
    strategies: frozenset[str] | None = None
    weightings: frozenset[str] | None = None
    sizes: frozenset[str] | None = None
    seeds: frozenset[int] | None = None

    @classmethod
    def parse(cls, conditions: list[str], plan: Plan) -> Selection:
        """Read conditions such as ``strategy=fine-tune,scratch`` or ``pair=noise->digits``.

        Raises
        ------
        BenchError
            For an unknown key or value, with the nearest match.
        """
        values: dict[str, frozenset] = {}

        def put(key: str, items: list[str]) -> None:
            if key == "seed":
                items = [str(seed) for seed in parse_seeds(",".join(items))]
            known = plan.values(key)
            for item in items:
                if item not in known:
                    hint = nearest(item, known) or f"; the suite has: {', '.join(sorted(known))}"
                    raise BenchError(f'--where {key}: the suite has no {key} "{item}"{hint}')
            values[_CONDITIONS[key]] = frozenset(int(i) for i in items) if key == "seed" else frozenset(items)

        for condition in conditions:
            key, equals, text = condition.partition("=")
            key, items = key.strip(), [item.strip() for item in text.split(",") if item.strip()]
            if not equals or not items:
                raise BenchError(f'--where "{condition}": write key=value, such as strategy=fine-tune')
            if key == "pair":
                ends = [item.partition("->") for item in items]
                put("source", [source.strip() for source, _, _ in ends])
                if any(target for _, _, target in ends):
                    put("target", [target.strip() for _, _, target in ends if target])
            elif key in _CONDITIONS:
                put(key, items)
            else:
                raise BenchError(f'--where: unknown key "{key}"{nearest(key, [*_CONDITIONS, "pair"])}')
        return cls(**values)

    def has(self, field_name: str, value: object) -> bool:
        """Whether `value` passes the condition on `field_name`."""
        allowed = getattr(self, field_name)
        return allowed is None or value in allowed


EVERYTHING = Selection()


@dataclass
class Plan:
    """A suite's source models and trials.

    Parameters
    ----------
    suite : Suite
        Checked.
    cards : mapping of str to Card
        What is known of the tasks, by the digest of their specification. Where a card is missing, keys
        are empty, and strategies that need the source's classes (zero-shot) count as possible.
    """

    suite: Suite
    cards: Mapping[str, Card] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        reader = TaskReader(self.suite, problems)
        self.backbones: list[BackboneSpec] = [
            spec for i, b in enumerate(self.suite.backbones) if (spec := read_backbone(b, f"backbones[{i}]", problems))
        ]
        self.strategies: list[list[Strategy]] = [
            read_strategies(self.suite.strategies, spec.depth, problems) for spec in self.backbones
        ]
        self.models: dict[str, ModelSpec] = {
            name: spec for name in self.suite.models if (spec := read_model(self.suite, name, problems))
        }
        names = dict.fromkeys(n for p in self.suite.pairs for n in (p.target, *p.all_sources) if n not in self.models)
        self.tasks: dict[str, TaskSpec] = {name: spec for name in names if (spec := reader.read(name, name))}
        if problems:
            raise BenchError(str(problems[0]))
        self._file_digests: dict[str, str] = {}
        self._strategy_digests = [[digest(s.identity()) for s in row] for row in self.strategies]

    def card(self, name: str) -> Card | None:
        """Return what is known of the task called `name`."""
        return self.cards.get(self.tasks[name].digest) if name in self.tasks else None

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """Each target with its sources, in the suite's order."""
        found: dict[str, dict[str, None]] = {}
        for pairs in self.suite.pairs:
            found.setdefault(pairs.target, {}).update(dict.fromkeys(pairs.all_sources))
        return {target: list(sources) for target, sources in found.items()}

    def input_shape(self, target: str) -> tuple[int, ...]:
        """Return the input shape of every model for `target`; empty while its data have not been read."""
        card = self.card(target)
        if card is None:
            return ()
        size = self.suite.image_size
        return (card.shape[0], size, size) if size and len(card.shape) == 3 else card.shape

    def values(self, key: str) -> set[str]:
        """Return what a `--where` condition on `key` may name."""
        suite = self.suite
        return {
            "source": {source for sources in self.targets.values() for source in sources},
            "target": set(self.targets),
            "backbone": {spec.label for spec in self.backbones},
            "strategy": {s.name for row in self.strategies for s in row},
            "weighting": set(suite.weighting),
            "size": {str(size) for size in suite.target_sizes},
            "seed": {str(seed) for seed in suite.seeds},
        }[key]

    def sizes(self, target: str) -> list[int]:
        """Return the target sizes in examples in all (0 for one that needs data not read yet)."""
        card = self.card(target)
        sizes = []
        for size in self.suite.target_sizes:
            known = card is not None or isinstance(size, int)
            sizes.append(size_in_all(size, card.class_counts if card else ()) if known else 0)
        return sizes

    # --- source models -----------------------------------------------------------------------------

    def source_model(self, source: str, target: str, backbone: int, weighting: str, seed: int) -> SourceModel:
        """Return the source model for a pair."""
        shape = self.input_shape(target)
        if source in self.models:
            return SourceModel(self._handed_in_key(source, backbone), source, backbone, shape, "uniform", 0)
        card = self.card(source)
        key = ""
        if card is not None and shape:
            key = combine(
                ["source", SCHEMA_VERSION, card.fingerprint, card.version, shape, self._backbone_digest(backbone),
                 self._recipe_digests[1], weighting, WEIGHTINGS.get(weighting).version, seed]
            )  # fmt: skip
        return SourceModel(key, source, backbone, shape, weighting, seed)

    def _handed_in_key(self, name: str, backbone: int) -> str:
        spec = self.models[name]
        content = spec.weights
        if spec.state_dict:
            content = self._file_digests.get(name) or file_digest(Path(spec.state_dict))
            self._file_digests[name] = content
        return combine(["model", SCHEMA_VERSION, content, *spec.classes, self._backbone_digest(backbone)])

    @cached_property
    def _recipe_digests(self) -> tuple[str, str]:
        return tuple(digest(recipe.model_dump(mode="json")) for recipe in (self.suite.recipe, self.suite.source_recipe))

    def _backbone_digest(self, backbone: int) -> str:
        return digest(self.backbones[backbone].identity())

    def zero_shot_possible(self, source: str, target: str) -> bool:
        """Whether a source head can label the target: its classes are all among the source's."""
        card = self.card(target)
        spec = self.models.get(source)
        classes = spec.classes if spec else (self.card(source).classes if self.card(source) else None)
        if card is None or classes is None:
            return True
        return set(card.classes) <= set(classes)

    def source_models(self, selection: Selection = EVERYTHING) -> Iterator[SourceModel]:
        """Yield each source model that the selected trials start from, once."""
        seen: set[SourceModel] = set()
        for trial in self.trials(selection):
            if trial.model is not None and trial.model not in seen:
                seen.add(trial.model)
                yield trial.model

    # --- trials ------------------------------------------------------------------------------------

    def trials(self, selection: Selection = EVERYTHING) -> Iterator[Trial]:
        """Yield each trial once: for every target its scratch trials, then those of each source."""
        for target, sources in self.targets.items():
            if not selection.has("targets", target):
                continue
            for backbone, spec in enumerate(self.backbones):
                if not selection.has("backbones", spec.label):
                    continue
                yield from self._scratch_trials(target, backbone, selection)
                for source in sources:
                    if selection.has("sources", source):
                        yield from self._transfer_trials(source, target, backbone, selection)

    def _chosen_sizes(self, target: str, selection: Selection) -> list[int]:
        pairs = zip(self.suite.target_sizes, self.sizes(target), strict=True)
        return [number for size, number in pairs if selection.has("sizes", str(size))]

    def _scratch_trials(self, target: str, backbone: int, selection: Selection) -> Iterator[Trial]:
        # Scratch is the reference of every selected comparison, so a condition on strategies leaves it in.
        chosen = [(i, s) for i, s in enumerate(self.strategies[backbone]) if s.transfer == 0]
        yield from self._cross(None, target, backbone, chosen, self._chosen_sizes(target, selection), selection)

    def _transfer_trials(self, source: str, target: str, backbone: int, selection: Selection) -> Iterator[Trial]:
        possible = self.zero_shot_possible(source, target)
        trained, untrained = [], []
        for index, strategy in enumerate(self.strategies[backbone]):
            if strategy.transfer == 0 or not selection.has("strategies", strategy.name):
                continue
            if strategy.keep_head and not possible:
                continue
            (trained if strategy.trained else untrained).append((index, strategy))
        weightings = ("uniform",) if source in self.models else self.suite.weighting
        for weighting in weightings:
            if selection.has("weightings", weighting):
                arguments = (source, weighting), target, backbone
                # What trains nothing uses no target labels: its size axis collapses to 0.
                yield from self._cross(*arguments, untrained, [0], selection)
                yield from self._cross(*arguments, trained, self._chosen_sizes(target, selection), selection)

    def _cross(
        self,
        origin: tuple[str, str] | None,
        target: str,
        backbone: int,
        strategies: list[tuple[int, Strategy]],
        sizes: list[int],
        selection: Selection,
    ) -> Iterator[Trial]:
        """Cross seeds, sizes and strategies for one (source, weighting), target and backbone."""
        card = self.card(target)
        common = ""
        if card is not None:
            common = combine(
                ["trial", SCHEMA_VERSION, target, card.fingerprint, card.version, self.input_shape(target),
                 self._backbone_digest(backbone), self._recipe_digests[0]]
            )  # fmt: skip
        digests = self._strategy_digests[backbone]
        for seed in self.suite.seeds:
            if not selection.has("seeds", seed):
                continue
            model = None
            if origin is not None:
                source, weighting = origin
                model = self.source_model(source, target, backbone, weighting, self.suite.source_seed(seed))
            start = f"{model.source}\x1e{model.key}" if model else ""
            known = common and (model is None or model.key)
            for size in sizes:
                for index, _ in strategies:
                    key = combine([common, start, digests[index], size, seed]) if known else ""
                    yield Trial(key, model, target, backbone, index, size, seed)

    def strategy(self, trial: Trial) -> Strategy:
        """Return the strategy of a trial."""
        return self.strategies[trial.backbone][trial.strategy]

    def problems(self) -> list[Problem]:
        """Find what the data rule out, before anything is trained: sizes, classes and shapes that cannot be.

        Needs the cards of all tasks.
        """
        found: list[Problem] = []
        for target in self.targets:
            card = self.card(target)
            if card is None:
                continue
            recipe = self.suite.recipe
            for size, number in zip(self.suite.target_sizes, self.sizes(target), strict=True):
                place = f'target "{target}", size {size}'
                needed = number + (recipe.validation_size or 0)
                if needed > card.n_train:
                    extra = f" and {recipe.validation_size} for validation" if recipe.validation_size else ""
                    found.append(Problem(place, f"needs {number} examples{extra}, the train pool has {card.n_train}"))
                share = 1 - recipe.validation_share if recipe.validation == "cut" else 1.0
                if number * share < len(card.classes):
                    left = int(number * share)
                    message = f"leaves {left} examples to train on, fewer than the {len(card.classes)} classes"
                    found.append(Problem(place, message))
            for name, count in zip(card.classes, card.class_counts, strict=True):
                if count == 0:
                    found.append(Problem(f'target "{target}"', f'class "{name}" has no training example'))
        return found


def known_cards(plan: Plan) -> Mapping[str, Card]:
    """Return the cards of a plan's tasks, or say which are missing.

    Raises
    ------
    DataError
        When the data of a task have not been read.
    """
    missing = [name for name in plan.tasks if plan.card(name) is None]
    if missing:
        raise DataError(f"the data of {', '.join(missing)} have not been read")
    return plan.cards
