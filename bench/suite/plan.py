"""Expand a suite to source models and trials, lazily, without reading data or importing torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, Problem
from bench.identity import digest
from bench.ledger.model_files import file_digest
from bench.registry import HEADS, Entry
from bench.suite.choices import read_method
from bench.suite.metrics import kind_of, metric_identity, metric_of
from bench.suite.model import Suite, size_in_all
from bench.suite.selection import EVERYTHING, Selection, demand
from bench.suite.solved import Probe, identity, probe_of
from bench.suite.specs import (
    BackboneSpec,
    ModelSpec,
    TaskReader,
    TaskSpec,
    read_backbone,
    read_model,
)
from bench.suite.standardise import RULES, applies, provider
from bench.suite.strategies import read_strategies
from bench.suite.weightings import UNIFORM, WeightingSpec, read_weightings
from bench.trial import (
    SCHEMA_VERSION,
    SINGLE_LABEL,
    Card,
    Meta,
    SourceModel,
    Trial,
    combine,
    is_array_shape,
)
from bench.triangle import PLAIN, How, Strategy

if TYPE_CHECKING:
    from bench.ledger.stored import Stored


@dataclass(frozen=True)
class Block:
    """Trials that differ in strategy, size and seed alone.

    Attributes
    ----------
    origin : (source, weighting), or None for what copies nothing
    strategies : tuple of int
        Indices into the plan's strategies of this backbone.
    trained : bool
        Whether there is a source model; if not, the source's examples alone are used.
    """

    origin: tuple[str, str] | None
    target: str
    backbone: int
    strategies: tuple[int, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    trained: bool = True


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
    contents : mapping of str to str
        Digests of the files of handed-in models, by the digest of their specification; a file that is not
        listed is read, and keys are empty where it is not there.
    machine : {"cpu", "cuda"}
        For which the number of lanes is chosen, where the suite leaves it open. It is that of a run
        folder's first run, whatever goes on with it.
    """

    suite: Suite
    cards: Mapping[str, Card] = field(default_factory=dict)
    machine: str = "cpu"
    contents: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, suite: Suite, stored: Stored) -> Plan:
        """Return the plan of a suite with what a run folder knows of its tasks and its machine."""
        cards = {key: Card.from_json(values) for key, values in stored.cards.items()}
        return cls(suite, cards, stored.machine or "cpu", stored.contents)

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        reader = TaskReader(self.suite, problems)
        self.backbones: list[BackboneSpec] = [
            spec for i, b in enumerate(self.suite.backbones) if (spec := read_backbone(b, f"backbones[{i}]", problems))
        ]
        self.strategies: list[list[Strategy]] = [
            read_strategies(self.suite.strategies, spec.depth, problems) for spec in self.backbones
        ]
        self.weightings: dict[str, WeightingSpec] = read_weightings(self.suite.weighting, problems)
        self.models: dict[str, ModelSpec] = {
            name: spec for name in self.suite.models if (spec := read_model(self.suite, name, problems))
        }
        names = dict.fromkeys(n for p in self.suite.pairs for n in (p.target, *p.all_sources) if n not in self.models)
        if self.suite.standardise not in (None, *RULES):
            names[self.suite.standardise] = None
        self.tasks: dict[str, TaskSpec] = {name: spec for name in names if (spec := reader.read(name, name))}
        if problems:
            raise BenchError(str(problems[0]))
        self._file_digests: dict[str, str] = {}
        self._known_classes: dict[str, tuple[str, ...] | None] = {}
        self._strategy_digests = [[digest(self._identity(s)) for s in row] for row in self.strategies]
        self._trial_digests: dict[tuple[int, str], list[str]] = {}
        self.source_methods: dict[str, How] = {
            name: read_method(value, f"source_methods.{name}") for name, value in self.suite.source_methods.items()
        }

    def _identity(self, strategy: Strategy) -> dict[str, Any]:
        """Return what decides the result of a strategy in this suite."""
        identity = strategy.identity()
        return identity | {"unlabelled": self.suite.unlabelled_size} if strategy.how.unlabelled else identity

    def unlabelled(self, target: str, size: int) -> int:
        """Return how many unlabelled examples a method sees beside `size` labelled ones; 0 while that is not known."""
        card, recipe, most = self.card(target), self.suite.recipe, self.suite.unlabelled_size
        left = max(0, (card.n_train if card else 0) - size - (recipe.validation_size or 0))
        return left if most == "all" else min(left, most)

    def source_method(self, source: str) -> How:
        """Return how the source models of a task are trained."""
        return self.source_methods.get(source, PLAIN)

    def card(self, name: str) -> Card | None:
        """Return what is known of the task called `name`."""
        return self.cards.get(self.tasks[name].digest) if name in self.tasks else None

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """Each target with its sources, in the suite's order."""
        found: dict[str, dict[str, None]] = {}
        for pairs in self.suite.pairs:
            found.setdefault(pairs.target, {}).update(dict.fromkeys(pairs.alone))
        return {target: list(sources) for target, sources in found.items()}

    @cached_property
    def sets(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """The sets of sources of each target that has some, by what rows call them."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for pairs in self.suite.pairs:
            if pairs.sets:
                found.setdefault(pairs.target, {}).update(pairs.sets)
        return found

    def members(self, source: str) -> tuple[str, ...]:
        """Return the tasks of a set of sources, or a source alone."""
        return next((sets[source] for sets in self.sets.values() if source in sets), (source,))

    def sources_of(self, target: str) -> list[str]:
        """Return every source of a target, members of sets among them."""
        members = (name for found in self.sets.get(target, {}).values() for name in found)
        return list(dict.fromkeys((*self.targets[target], *members)))

    def all_sources(self) -> list[str]:
        """Return every source of any target."""
        return list(dict.fromkeys(name for target in self.targets for name in self.sources_of(target)))

    def input_shape(self, target: str) -> tuple[int, ...]:
        """Return the input shape of every model for `target`; empty while its data have not been read."""
        card = self.card(target)
        if card is None:
            return ()
        size = self.suite.image_size
        return (card.shape[0], size, size) if size and is_array_shape(card.shape, 3) else card.shape

    def standardised_by(self, name: str, target: str) -> str | None:
        """Name the task whose train pool standardises the table `name` in pairs to `target`.

        None where inputs are taken as they are, and while the target's data have not been read.
        """
        rule, card = self.suite.standardise, self.card(target)
        if card is None or not is_array_shape(card.shape, 1):
            return None
        by = provider(rule, name, target, self.targets.get(target) or [name])
        known = self.card(by) if by else None
        return by if known is None or applies(rule, known) else None

    def transform(self, name: str, target: str) -> list[object] | None:
        """Return what decides how the inputs of `name` are transformed in pairs to `target`; nothing if they are not.

        None while the data that decide it have not been read.
        """
        by = self.standardised_by(name, target)
        if by is None:
            return []
        card = self.card(by)
        return None if card is None else ["standardised", card.fingerprint, card.version]

    def values(self, key: str) -> set[str]:
        """Return what a `--where` condition on `key` may name."""
        suite = self.suite
        return {
            "source": {name for target in self.targets for name in (*self.targets[target], *self.sets.get(target, ()))},
            "target": set(self.targets),
            "backbone": {spec.label for spec in self.backbones},
            "strategy": {s.name for row in self.strategies for s in row},
            "method": {s.how.name for row in self.strategies for s in row},
            "adapt": {s.adapt.name for row in self.strategies for s in row},
            "n": {str(s.transfer) for row in self.strategies for s in row},
            "f": {str(s.frozen) for row in self.strategies for s in row},
            "weighting": set(self.weightings),
            "size": {str(size) for size in suite.target_sizes},
            "seed": {str(seed) for seed in suite.seeds},
        }[key]

    def pairs_named(self, text: str) -> list[tuple[str, str]]:
        """Return the pairs meant by "source->target", or by "source" alone.

        Raises
        ------
        BenchError
            When the suite has none, with the nearest match.
        """
        source, arrow, target = (part.strip() for part in text.partition("->"))
        if not arrow and text.endswith("-"):
            raise BenchError(f'--where pair={text}: quote the condition, the shell takes ">" for a redirection')
        demand("source", source, self.values("source"))
        if target:
            demand("target", target, self.values("target"))
        pairs = [(source, end) for end, known in self.targets.items() if source in (*known, *self.sets.get(end, ()))]
        if target and (source, target) not in pairs:
            ends = ", ".join(end for _, end in pairs)
            raise BenchError(f'--where pair: the suite has no pair {source}->{target}; "{source}" goes to: {ends}')
        return [(source, target)] if target else pairs

    def classes(self, name: str) -> tuple[str, ...] | None:
        """Return the class names of a task or handed-in model, or None where only the data tell."""
        if name in self.models:
            return self.models[name].classes
        card = self.card(name)
        if card is None and name not in self._known_classes:
            self._known_classes[name] = self.tasks[name].classes() if name in self.tasks else None
        return card.classes if card else self._known_classes[name]

    def sizes(self, target: str) -> list[int]:
        """Return the target sizes in examples in all (0 for one that needs data not read yet, or classes)."""
        card, classes = self.card(target), self.classes(target)
        sizes = []
        for size in self.suite.target_sizes:
            if card is not None and card.kind != SINGLE_LABEL and isinstance(size, str):
                sizes.append(card.n_train if size == "all" else 0)
            elif card is not None or isinstance(size, int):
                sizes.append(size_in_all(size, card.class_counts if card else ()))
            else:
                sizes.append(size_in_all(size, (0,) * len(classes)) if classes and size != "all" else 0)
        return sizes

    # --- source models -----------------------------------------------------------------------------

    def source_model(
        self, source: str, target: str, backbone: int, weighting: str, seed: int, meta: Meta | None = None,
        trained: bool = True,
    ) -> SourceModel:  # fmt: skip
        """Return the source model for a pair: its `meta` examples count where the weighting learns from them."""
        shape = self.input_shape(target)
        if source in self.models:
            return SourceModel(self._handed_in_key(source, backbone), source, backbone, shape, UNIFORM, 0)
        if len(members := self.members(source)) > 1:
            return self._set_of_sources(source, members, target, backbone, seed)
        card, spec = self.card(source), self.weightings[weighting]
        if spec.learns_from is None:
            meta = None
        key, transform = "", self.transform(source, target)
        if card is not None and shape and transform is not None:
            told_apart = (
                [spec.name, spec.version] if spec.name == UNIFORM else [spec.digest, *self._meta_identity(meta)]
            )
            how = self.source_method(source)
            told_apart += [digest(how.identity)] if how != PLAIN and trained else []
            key = combine(
                ["source" if trained else "joint", SCHEMA_VERSION, card.fingerprint, card.version, *_seen(card, shape),
                 self._backbone_digest(backbone), self._numerics(backbone, shape), self._recipe_digests[1],
                 *told_apart, *transform, seed]
            )  # fmt: skip
        by = self.standardised_by(source, target)
        return SourceModel(key, source, backbone, shape, weighting, seed, meta, trained, by)

    def _set_of_sources(
        self, label: str, members: tuple[str, ...], target: str, backbone: int, seed: int
    ) -> SourceModel:
        """Return what stands for several sources whose examples are used: it has no model, and is known by theirs."""
        parts = [self.source_model(name, target, backbone, UNIFORM, seed, trained=False) for name in members]
        key = combine(["joint", *(part.key for part in parts)]) if all(part.key for part in parts) else ""
        shape, by = self.input_shape(target), parts[0].standardised_by
        return SourceModel(key, label, backbone, shape, UNIFORM, seed, None, False, by)

    def _meta_identity(self, meta: Meta | None) -> list[object]:
        """Return what decides which target examples a weighting sees, and how they are drawn."""
        if meta is None:
            return []
        recipe, card = self.suite.recipe, self.card(meta.target)
        identity = [card.fingerprint, card.version, meta.size, meta.seed, recipe.validation_label, recipe.batch_size]
        return identity + (self.transform(meta.target, meta.target) or [])

    def lanes(
        self, backbone: int, shape: tuple[int, ...], strategy: Strategy | None = None, how: How = PLAIN,
        task: str | None = None,
    ) -> int:  # fmt: skip
        """Return how many trainings of a backbone (with a strategy, or a method) on inputs of a shape share a stack.

        Parameters
        ----------
        task : str, optional
            Whose targets are learned: not all kinds have heads that can be stacked.
        """
        choices = [how] if strategy is None else [strategy.adapt, strategy.how]
        heads = [] if task is None else [HEADS.get(self.kind(task)).function]
        if not all(choice.lanes for choice in (*choices, *heads)):
            return 1
        return self.backbones[backbone].lanes(self.suite.lanes, shape, self.machine)

    def _numerics(self, backbone: int, shape: tuple[int, ...]) -> str:
        """Return how sums are rounded: as much a part of a result's identity as its recipe."""
        return f"{self.lanes(backbone, shape)} {self.suite.precision}"

    def _handed_in_key(self, name: str, backbone: int) -> str:
        spec = self.models[name]
        content = spec.weights or self._content(spec)
        if not content:
            return ""
        return combine(["model", SCHEMA_VERSION, content, *spec.classes, self._backbone_digest(backbone)])

    def _content(self, spec: ModelSpec) -> str:
        """Return the digest of a handed-in model's file; empty where it is neither known nor there."""
        if spec.name not in self._file_digests:
            known = self.contents.get(spec.digest)
            there = os.path.isfile(spec.state_dict)
            self._file_digests[spec.name] = known or (file_digest(Path(spec.state_dict)) if there else "")
        return self._file_digests[spec.name]

    @cached_property
    def _recipe_digests(self) -> tuple[str, str]:
        return tuple(digest(recipe.identity()) for recipe in (self.suite.recipe, self.suite.source_recipe))

    def _backbone_digest(self, backbone: int) -> str:
        return digest(self.backbones[backbone].identity())

    def trains(self, model: SourceModel | None) -> bool:
        """Whether the run must train a source model."""
        return model is not None and model.trained and model.source not in self.models

    def zero_shot_possible(self, source: str, target: str) -> bool:
        """Whether a source head can label the target: one kind of task, and its classes are all among the source's."""
        if len({card.kind for name in (source, target) if (card := self.card(name)) is not None}) > 1:
            return False
        source_classes, target_classes = self.classes(source), self.classes(target)
        if source_classes is None or target_classes is None:
            return True
        return set(target_classes) <= set(source_classes)

    def source_models(self, selection: Selection = EVERYTHING) -> Iterator[SourceModel]:
        """Yield each source model that the selected trials start from, once."""
        seen: set[SourceModel] = set()
        for block in self.blocks(selection):
            if not block.origin or not block.trained:
                continue
            sizes = block.sizes if self._learns(block) else block.sizes[:1]
            for seed, size in product(block.seeds, sizes):
                model = self._model(block, seed, size)
                if model not in seen:
                    seen.add(model)
                    yield model

    # --- trials ------------------------------------------------------------------------------------

    def trials(self, selection: Selection = EVERYTHING) -> Iterator[Trial]:
        """Yield each trial once: for every target its scratch trials, then those of each source."""
        for block in self.blocks(selection):
            yield from self.expand(block)

    def blocks(self, selection: Selection = EVERYTHING) -> Iterator[Block]:
        """Yield the trials in blocks, in order; none is empty."""
        seeds = tuple(seed for seed in self.suite.seeds if selection.has("seeds", seed))
        for target, sources in self.targets.items():
            if not selection.has_target(target):
                continue
            for backbone, spec in enumerate(self.backbones):
                if not selection.has("backbones", spec.label):
                    continue
                found = [self._scratch_block(target, backbone, selection)]
                for source in sources:
                    if selection.has_pair(source, target):
                        found += self._transfer_blocks(source, target, backbone, selection)
                for label in self.sets.get(target, {}):
                    if selection.has_pair(label, target):
                        found.append(self._set_block(label, target, backbone, selection))
                for origin, strategies, sizes, trained in found:
                    if strategies and sizes and seeds:
                        yield Block(origin, target, backbone, tuple(strategies), tuple(sizes), seeds, trained)

    def _chosen_sizes(self, target: str, selection: Selection) -> list[int]:
        pairs = zip(self.suite.target_sizes, self.sizes(target), strict=True)
        return [number for size, number in pairs if selection.has("sizes", str(size))]

    def _scratch_block(self, target: str, backbone: int, selection: Selection) -> tuple:
        # Scratch is the reference of every selected comparison, so a condition on strategies leaves it in.
        chosen = [i for i, s in enumerate(self.strategies[backbone]) if not s.uses_source]
        return None, chosen, self._chosen_sizes(target, selection), True

    def _transfer_blocks(self, source: str, target: str, backbone: int, selection: Selection) -> Iterator[tuple]:
        possible = self.zero_shot_possible(source, target)
        trained, untrained, examples = [], [], []
        for index, strategy in enumerate(self.strategies[backbone]):
            if not (strategy.uses_source and selection.has_strategy(strategy)):
                continue
            if strategy.keep_head and not possible:
                continue
            if strategy.how.sources and source in self.models:
                continue  # a model comes without its examples
            (examples if strategy.only_examples else trained if strategy.trained else untrained).append(index)
        sizes = self._chosen_sizes(target, selection)
        for weighting in self._weightings(source):
            if selection.has("weightings", weighting):
                origin, learns = (source, weighting), self.weightings[weighting].learns_from
                # What trains nothing uses no target labels, unless its weighting does: its size axis collapses to 0.
                yield origin, untrained, sizes if learns else [0], True
                yield origin, trained, sizes, True
                yield origin, examples, sizes, False

    def _set_block(self, label: str, target: str, backbone: int, selection: Selection) -> tuple:
        """Return what takes the examples of several sources and copies nothing, since there is no one model."""
        chosen = [
            index
            for index, strategy in enumerate(self.strategies[backbone])
            if strategy.only_examples and selection.has_strategy(strategy)
        ]
        sizes = self._chosen_sizes(target, selection) if selection.has("weightings", UNIFORM) else []
        return (label, UNIFORM), chosen, sizes, False

    def _weightings(self, source: str) -> list[str]:
        """Name the weightings that can make a difference to a source."""
        if source in self.models:
            return [UNIFORM]
        card = self.card(source)
        known = [(label, spec) for label, spec in self.weightings.items()]
        return [label for label, spec in known if card is None or spec.applies(card)]

    def _learns(self, block: Block) -> bool:
        """Whether the source models of a block differ from size to size and from trial to trial."""
        source, weighting = block.origin
        return source not in self.models and self.weightings[weighting].learns_from is not None

    def _model(self, block: Block, seed: int, size: int) -> SourceModel:
        source, weighting = block.origin
        meta = Meta(block.target, size, seed) if self._learns(block) else None
        number = self.suite.source_seed(seed)
        return self.source_model(source, block.target, block.backbone, weighting, number, meta, block.trained)

    def context(self, target: str, backbone: int) -> str:
        """Return the digest of what all comparable trials share: target data, backbone, numerics, recipe.

        Empty while the target's data have not been read.
        """
        card, transform = self.card(target), self.transform(target, target)
        if card is None or transform is None:
            return ""
        shape, network = self.input_shape(target), self._backbone_digest(backbone)
        data = [target, card.fingerprint, card.version, *_seen(card, shape), *transform]
        numerics, chosen_by = self._numerics(backbone, shape), metric_identity(self.suite, kind_of(card))
        return combine(["trial", SCHEMA_VERSION, *data, network, numerics, self._recipe_digests[0], *chosen_by])

    def expand(self, block: Block) -> Iterator[Trial]:
        """Yield the trials of a block: its seeds, sizes and strategies crossed."""
        target, backbone = block.target, block.backbone
        common = self.context(target, backbone)
        digests = self._digests(target, backbone)
        learns = block.origin is not None and self._learns(block)
        model, start = None, ""
        for seed in block.seeds:
            for place, size in enumerate(block.sizes):
                if block.origin and (learns or place == 0):
                    model = self._model(block, seed, size)
                    start = f"{model.source}\x1e{model.key}"
                known = common and (model is None or model.key)
                for index in block.strategies:
                    key = combine([common, start, digests[index], size, seed]) if known else ""
                    yield Trial(key, model, target, backbone, index, size, seed)

    def _digests(self, target: str, backbone: int) -> list[str]:
        """Return what a backbone's strategies add to the keys of a target's trials."""
        place = (backbone, self.kind(target))
        if place not in self._trial_digests:
            strategies, known = self.strategies[backbone], self._strategy_digests[backbone]
            probes = [self.probe(strategy, target, backbone) for strategy in strategies]
            self._trial_digests[place] = [
                digest(identity(strategy, probe)) if probe.phases else same
                for strategy, probe, same in zip(strategies, probes, known, strict=True)
            ]
        return self._trial_digests[place]

    def probe(self, strategy: Strategy, target: str, backbone: int) -> Probe:
        """Return which phases of a strategy are solved."""
        return probe_of(strategy, self.suite.recipe, self.backbones[backbone].depth, self.kind(target))

    def kind(self, target: str) -> str:
        """Return what the targets of a task are, single labels while its data have not been read."""
        return kind_of(self.card(target))

    def metric(self, target: str) -> Entry:
        """Return the metric by which models of a target are chosen and judged."""
        return metric_of(self.suite, self.kind(target))

    def strategy(self, trial: Trial) -> Strategy:
        """Return the strategy of a trial."""
        return self.strategies[trial.backbone][trial.strategy]


def _seen(card: Card, shape: tuple[int, ...]) -> list[object]:
    """Return what decides how a network sees a task's inputs: the shape, and whether they are cropped to it."""
    own = card.shape
    crop = is_array_shape(own, 3) and own[1] * shape[2] != own[2] * shape[1]
    return [shape, "crop"] if crop else [shape]
