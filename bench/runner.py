"""From a trial to its row: task, backbone and source model, strategy, training, one look at the test set."""

from __future__ import annotations

import base64
import copy
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.adaptations.apply import adapt, trains_nothing
from bench.backbones.base import Backbone, build
from bench.backbones.batch import Batch, Rows
from bench.errors import BenchError, DataError, StoreError, TrialError
from bench.heads.base import head_of
from bench.identity import derive
from bench.ledger.model_files import path_of, weights_path
from bench.ledger.predictions import PREDICTIONS, save_predictions
from bench.ledger.unit_records import describe_error, failed_trial, listed, row_of
from bench.registry import MEASURES
from bench.schema import FURTHER, metric_column
from bench.sources import LoadedSource, load_source, save_source, save_weights, train_sources
from bench.suite.packing import HELD, place_of, shared
from bench.suite.plan import Plan
from bench.tasks.arrays import memory_limit
from bench.tasks.base import Task
from bench.tasks.build import read_task
from bench.tasks.fit import fit as fit_shape
from bench.tasks.standardise import standardise
from bench.training.cuts import Cuts, Frozen
from bench.training.data import Data, prepare
from bench.training.fit import Fitted, fit
from bench.training.judge import Judge, storable, stored_point
from bench.training.lanes import Lane, Layout, Stream, Tested, evaluate, source_head, stream_of
from bench.training.loop import Start
from bench.training.precision import computing
from bench.training.protocol import Pool, Split, pool_order, reading_order, split_pool
from bench.training.step import own_modules
from bench.training.weighted import SourceFacts, Weigh, add_head
from bench.transfer.start import copy_blocks, copy_head, trainable_parameters
from bench.trial import SCHEMA_VERSION, Card, Check, SourceModel, Trial, named_shapes
from bench.triangle import Strategy
from bench.weighting.kept import Weights

T = TypeVar("T")


class _Recent:
    """The last few results of a function, by key."""

    def __init__(self, size: int):
        self._size = size
        self._held: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key in self._held:
            self._held.move_to_end(key)
        else:
            self._held[key] = make()
            while len(self._held) > self._size:
                self._held.popitem(last=False)
        return self._held[key]


class Runner:
    """Runs source models, similarity measures and trials of one plan in this process.

    Parameters
    ----------
    plan : Plan
        With the cards of all tasks.
    task_folder, source_folder : Path
        Where built tasks and source models are read from.
    device : torch.device

    Attributes
    ----------
    made : Path
        Where new files are left, as they are to lie in the run folder; its own process says where.
    """

    made: Path

    def __init__(self, plan: Plan, task_folder: Path, source_folder: Path, device: torch.device):
        self.plan = plan
        self.task_folder = task_folder
        self.source_folder = source_folder
        self.device = device
        self.memory = memory_limit()
        self._tasks, self._shaped, self._data = _Recent(8), _Recent(8), _Recent(4)
        # As many starting points as groups with one start have.
        lanes = max(plan.lanes(b, plan.input_shape(t)) for b in range(len(plan.backbones)) for t in plan.targets)
        self._sources, self._networks, self._orders = (_Recent((HELD + 1) * lanes) for _ in range(3))
        self._cuts = Cuts(self.memory // 2)

    # --- what trials share -------------------------------------------------------------------------

    def task(self, name: str, shape: tuple[int, ...], by: str | None = None) -> Task:
        """Return a task at an input shape, a table standardised by the train pool of the task `by`."""

        def made() -> Task:
            task = fit_shape(self._read(name), shape)
            return standardise(task, self._read(by)) if by else task

        return self._shaped.get((name, shape, by), made)

    def _read(self, name: str) -> Task:
        fingerprint = self.plan.card(name).fingerprint
        return self._tasks.get(fingerprint, lambda: read_task(self.task_folder / f"{fingerprint}.safetensors"))

    def source(self, model: SourceModel) -> LoadedSource:
        """Return a source model."""
        return self._sources.get(model, lambda: load_source(self.plan, model, self.source_folder, self.device))

    def _fresh(self, trial: Trial, target: Task) -> Backbone:
        """Build the target's network as scratch has it: the same for every strategy of (target, seed)."""
        spec = self.plan.backbones[trial.backbone]
        identity = (self.plan.card(trial.target).fingerprint, spec.identity(), trial.seed)

        def make() -> Backbone:
            seeds = derive("body", *identity), derive("head", *identity)
            made = partial(head_of(target.kind).module, classes=target.classes)
            network = build(spec.name, target.shape, made, *seeds, **spec.arguments)
            network = network.to(self.device)
            return network.to(memory_format=torch.channels_last) if target.is_image else network

        return copy.deepcopy(self._networks.get((trial.target, trial.backbone, trial.seed), make))

    def _target_data(self, network: Backbone, name: str, target: Task, by: str | None) -> Data:
        fingerprint = self.plan.card(name).fingerprint
        key = (fingerprint, target.shape, network.mean, network.std, by)
        return self._data.get(key, lambda: prepare(network, target, self.device, fingerprint, self.memory, by))

    # --- units of work: each returns records for the ledger -----------------------------------------

    @torch.no_grad()
    def check(self, unit: Check) -> None:
        """Raise what building the network, passing inputs of the target's shape or loading the model raises."""
        if unit.model:
            self.source(unit.model)
            return
        spec, shape = self.plan.backbones[unit.backbone], self.plan.input_shape(unit.target)
        head = partial(head_of(self.plan.kind(unit.target)).module, classes=self.plan.classes(unit.target))
        network = build(spec.name, shape, head, 0, 0, **spec.arguments).eval()
        if network.depth != spec.depth:
            raise DataError(f'backbone "{spec.name}" has {network.depth} blocks, but was declared with {spec.depth}')
        cards = [self.plan.card(name) for name in (unit.target, *self.plan.sources_of(unit.target))]
        ids = _largest([card for card in cards if card is not None])
        try:
            network(network.prepare(_trial_batch(shape, ids)))
        except IndexError as error:
            if not any(ids.values()):
                raise
            most = ", ".join(f"{name + ' ' if name else ''}up to {n - 1}" for name, n in ids.items() if n)
            message = f'backbone "{spec.name}" cannot take the token ids, which go {most}: {error}'
            raise DataError(message) from error
        if problem := trains_nothing(network, spec.label, self.plan.strategies[unit.backbone]):
            raise DataError(problem)

    def train_sources(self, models: Sequence[SourceModel]) -> list[dict[str, Any]]:
        """Train and keep source models of one shape."""
        how = self.plan.source_method(models[0].source)
        first = models[0]
        layout = Layout(self.plan.lanes(first.backbone, first.shape, how=how, task=first.source), self.memory)
        with computing(self.plan.suite.precision, self.device):
            found = train_sources(self.plan, models, self.task, self.device, layout)
        records = []
        for model, trained in zip(models, found, strict=True):
            record = trained.record
            if trained.network is not None:
                self._keep_weights(trained.weights, model.key)
                record = save_source(trained.network, record, _room(path_of(self.made / "sources", model)))
            records.append(record)
        return records

    def _keep_weights(self, weights: Weights | None, key: str) -> None:
        if weights is not None:
            save_weights(weights, _room(weights_path(self.made / "sources", key)))

    def measure(self, key: str, model: SourceModel, target: str) -> dict[str, Any]:
        """Measure the similarity of a source (with its model) to a target."""
        from bench.similarity.base import View, column, measure_all

        source, held_out = None, None
        if model.source not in self.plan.models:
            source = self.task(model.source, model.shape, model.standardised_by)
            source, held_out = self._held_out(model, source)
        seen = self.task(target, model.shape, self.plan.standardised_by(target, target))
        view = View(source, seen, self.source(model), self.device, held_out)
        names = self.plan.suite.measures
        values, failed = measure_all(names, view)
        entries = {column(name): MEASURES.get(name) for name in names}
        record = {
            "kind": "similarity", "key": key, "source": model.source, "target": target,
            "backbone": self.plan.backbones[model.backbone].label, "weighting": model.weighting,
            "source_seed": model.seed, "values": values,
            "versions": {name: entry.version for name, entry in entries.items()},
            "near": {name: entry.meta["near"] for name, entry in entries.items()},
        }  # fmt: skip
        if failed:
            said = "; ".join(MEASURES.get(name).raised(error) for name, error in failed.items())
            record |= {"error": describe_error(BenchError(said))[0]}
            record |= {"traceback": describe_error(next(iter(failed.values())))[1]}
        return record

    def _held_out(self, model: SourceModel, source: Task) -> tuple[Task, np.ndarray | None]:
        """Return a source and which of its examples its model was not fitted to: those that chose rate and step.

        Where these are the validation split that comes with the data, that is what is returned, and all of it.
        """
        recipe = self.plan.suite.source_recipe
        if recipe.validation == "given":
            alone = dict.fromkeys(("harmful", "domains", "groups", "x_val", "y_val"))
            return source.changed(x=source.x_val, y=source.y_val, **alone), None
        known = Pool.of(source), self.plan.card(model.source).fingerprint
        return source, np.sort(split_pool(*known, len(source.y), model.seed, recipe, source.classes).validation)

    def run_trials(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """Run trials that :func:`bench.suite.packing.shared` says may be trained together; a record each."""
        began = time.perf_counter()
        plan, first = self.plan, trials[0]
        # Its strategy is read for all of them below.
        assert len({shared(plan, trial) for trial in trials}) == 1, "trials that differ in more than their lanes"
        shape = plan.input_shape(first.target)
        target = self.task(first.target, shape, plan.standardised_by(first.target, first.target))
        strategy, fitted = plan.strategy(first), [Fitted() for _ in trials]
        layout = Layout(plan.lanes(first.backbone, shape, strategy, task=first.target), self.memory)
        judge = self._judge(target)
        lanes = [self._lane(trial, target) for trial in trials]
        untouched = min((phase.freeze for phase in strategy.path), default=strategy.transfer)
        with computing(plan.suite.precision, self.device):
            if strategy.trained:
                probe = plan.probe(strategy, first.target, first.backbone)
                fitted = fit(lanes, strategy.path, plan.suite.recipe, layout, strategy.steps, judge, probe)
            tested = evaluate(lanes, untouched, layout, judge, plan.suite.predictions)
            further = {name: evaluate(lanes, untouched, layout, judge, further=name) for name in target.further}
        seconds = (time.perf_counter() - began) / len(trials)
        records = [self._record(*found, seconds) for found in zip(trials, lanes, fitted, tested, strict=True)]
        for name, others in further.items():
            for record, other in zip(records, others, strict=True):
                if record["row"]["status"] == "ok":
                    record["row"][FURTHER + name] = storable(other.look.score)
        if plan.suite.predictions and isinstance(target.y_test, np.ndarray):
            self._keep_predictions(target, records, tested)
        return records

    def _judge(self, target: Task) -> Judge:
        return Judge.of(target.kind, self.plan.suite.metric, target.classes)

    def _keep_predictions(self, target: Task, records: Sequence[dict[str, Any]], tested: Sequence[Tested]) -> None:
        """Keep what finished trials predicted in one file, which their records then name."""
        done = [(record, test) for record, test in zip(records, tested, strict=True) if record["row"]["status"] == "ok"]
        if not done:
            return
        found = {r["key"]: (test.predicted.cpu().numpy(), test.scores.numpy()) for r, test in done}
        folder = _room(self.made / PREDICTIONS / "any").parent
        name = save_predictions(folder, found, target.y_test, target.classes)
        for record, _ in done:
            record["predictions"] = name

    def _lane(self, trial: Trial, target: Task) -> Lane:
        """Return a trial's network as training finds it, with its examples."""
        plan, strategy = self.plan, self.plan.strategy(trial)
        network = self._fresh(trial, target)
        data = self._target_data(network, trial.target, target, plan.standardised_by(trial.target, trial.target))
        recipe, size = plan.suite.recipe, trial.target_size
        order = self._order(trial, data)
        split = Split(order[:0], order[:0])
        if strategy.trained:
            pool = Pool.of(target)
            split = split_pool(pool, data.fingerprint, size, trial.seed, recipe, target.classes, order)
        lane = Lane(network, data, split, size, trial.seed, place=place_of(plan, trial), how=strategy.how)
        if strategy.trained:
            self._beside(trial, lane)
        if trial.model and not strategy.only_examples:
            source = self.source(trial.model)
            lane.start = self._start(lane, strategy, source, target)
            order, count = reading_order(order, split, size, target.n_val if recipe.validation == "given" else 0)
            lane.frozen = Frozen(self._cuts, trial.model.key, source.network, data, order, trial.seed, count)
        adapt(network, strategy, data.fingerprint, plan.backbones[trial.backbone].identity(), trial.seed)
        return lane

    def _order(self, trial: Trial, data: Data) -> np.ndarray:
        """Return the order of a target's pool, of which a size is a prefix."""
        target = self._read(trial.target)
        known = data.fingerprint, trial.seed
        return self._orders.get(known, lambda: pool_order(target.strata, *known))

    def _beside(self, trial: Trial, lane: Lane) -> None:
        """Give a lane what its method asks for: sources with heads for their labels, unlabelled examples, modules."""
        how = lane.how
        for name in self.plan.members(trial.model.source) if how.sources else ():
            self._add_source(trial, lane, name)
        if how.unlabelled:
            lane.unlabelled = self._unlabelled(trial, lane)
        identity = (lane.data.fingerprint, self.plan.backbones[trial.backbone].identity(), trial.seed)
        own_modules(lane, self.plan.classes(trial.target), *identity)

    def _add_source(self, trial: Trial, lane: Lane, name: str) -> None:
        """Let a lane see a source's examples, with a head for their labels."""
        model, recipe = trial.model, self.plan.suite.source_recipe
        by = self.plan.standardised_by(name, trial.target)
        source = self.task(name, model.shape, by)
        other = self._target_data(lane.network, name, source, by)
        identity = (other.fingerprint, len(source.y), model.seed)
        pool, seed = Pool.of(source), model.seed
        examples = split_pool(pool, other.fingerprint, len(source.y), seed, recipe, source.classes).train
        stream = stream_of(other, examples, recipe.batch_size, identity)
        add_head(lane.network, source_head(len(lane.sources)), other.head, source.classes,
                 derive("companion head", *identity))  # fmt: skip
        lane.sources += (stream,)
        if not model.trained and name == model.source:
            spec = self.plan.weightings[model.weighting]
            lane.weigh = Weigh(spec, SourceFacts.of(source), None, True, (lane.data, lane.split.train))

    def _unlabelled(self, trial: Trial, lane: Lane) -> Stream:
        """Return the examples of the target's pool that a method sees without their labels."""
        order = self._order(trial, lane.data)
        rest = order[trial.target_size :]
        rest = rest[~np.isin(rest, lane.split.validation)][: self.plan.unlabelled(trial.target, trial.target_size)]
        return stream_of(lane.data, rest, self.plan.suite.recipe.batch_size, (*lane.identity, "unlabelled"))

    def _record(self, trial: Trial, lane: Lane, fitted: Fitted, tested: Tested, seconds: float) -> dict[str, Any]:
        """Return what the ledger keeps of a trial."""
        error = fitted.error
        look = tested.look
        if error is None and not np.isfinite(look.loss) and lane.data.head.has_loss:
            error = TrialError(f"the test loss is {look.loss}; the model diverged")
        if error is not None:
            return failed_trial(self.plan, trial, *describe_error(error), seconds)
        row = row_of(self.plan, trial) | {
            "status": "ok",
            "test_accuracy": storable(look.accuracy),
            "test_loss": storable(look.loss),
            "val_accuracy": fitted.val_accuracy,
            "val_loss": storable(fitted.val_loss),
            "test_score": storable(look.score),
            "val_score": storable(fitted.val_score),
            **{metric_column(name): storable(score) for name, score in look.scores.items()},
            "learning_rate": fitted.learning_rate,
            "steps": fitted.steps,
            "best_step": fitted.best_step,
            "learning_rates": listed(fitted.rates),
            "collapsed_rates": listed(fitted.collapsed),
            "head_strength": fitted.head_strength,
            "head_strengths": listed(fitted.strengths),
            "head_gradient": fitted.head_gradient,
            "train_loss": fitted.train_loss,
            "constant_loss": storable(fitted.constant_loss),
            "cut": fitted.cut,
            "trainable_parameters": trainable_parameters(lane.network, self.plan.strategy(trial)),
            "n_test": len(tested.predicted),
            "majority_accuracy": self.plan.card(trial.target).majority_accuracy,
            "classes_predicted": None if tested.correct is None else len(tested.predicted.unique()),
            "seconds": seconds,
            **self._of_source(trial, fitted),
        }
        detail = {"curve": [stored_point(point) for point in fitted.curve]}
        if look.by_class:
            detail["by_class"] = {name: [_rounded(v) for v in values] for name, values in look.by_class.items()}
        detail |= {} if tested.correct is None else {"correct": pack(tested.correct)}
        record = {"kind": "trial", "key": trial.key, "schema": SCHEMA_VERSION, "row": row, "detail": detail}
        return record | {"source_model": trial.model.key} if trial.model else record

    def _of_source(self, trial: Trial, fitted: Fitted) -> dict[str, Any]:
        """Return the columns of a row that the source decides."""
        if trial.model is None:
            return {"source_accuracy": None}
        if not trial.model.trained:
            self._keep_weights(fitted.weights, trial.key)
            return {"source_accuracy": None, **(fitted.weights.summary() if fitted.weights else {})}
        source = self.source(trial.model)
        return {"source_accuracy": source.accuracy, **source.weights}

    def _start(self, lane: Lane, strategy: Strategy, source: LoadedSource, target: Task) -> Start:
        """Copy what the strategy copies; say what was, for the optimiser."""
        network = lane.network
        copy_blocks(network, source.network, strategy.transfer)
        if strategy.keep_head:
            copy_head(network, source.network, tuple(target.classes), source.classes)
        ratio = self.plan.suite.recipe.copied_lr if strategy.copied_lr is None else strategy.copied_lr
        return Start(strategy.transfer, strategy.keep_head, ratio)


def _largest(cards: Sequence[Card]) -> dict[str, int]:
    """Return one more than the largest whole number of each input over tasks; of inputs in one array, under ""."""
    found: dict[str, int] = {}
    for card in cards:
        for name, most in card.inputs or (("", card.vocabulary),):
            found[name] = max(found.get(name, 0), most)
    return found


def _trial_batch(shape: tuple[Any, ...], ids: Mapping[str, int]) -> Rows:
    """Return two inputs: with the largest token ids, so that an embedding that is too small shows, and else zeros."""

    def two(shape: tuple[int, ...], most: int) -> Tensor:
        return torch.full((2, *shape), most - 1) if most else torch.zeros((2, *shape))

    named = named_shapes(shape)
    return Batch({name: two(part, ids[name]) for name, part in named.items()}) if named else two(shape, ids[""])


def _rounded(value: float) -> float | None:
    """Return a class's value to four digits, as its record keeps it: there may be many."""
    return None if not np.isfinite(value) else float(f"{value:.4g}")


def _room(path: Path) -> Path:
    """Make the folder of a new file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return path


def pack(correct: Tensor) -> str:
    """Pack which test examples were right, shape (N,), to base64 of bits; :func:`unpack` reads it."""
    bits = np.packbits(correct.cpu().numpy().astype(bool))
    return base64.b64encode(bits.tobytes()).decode()
