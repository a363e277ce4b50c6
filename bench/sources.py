"""Source models: trained once for (source, backbone, weighting, seed), kept by content key, handed out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.atomic_write import write_whole
from bench.backbones.base import Backbone, build
from bench.errors import BenchError, DataError, nearest
from bench.heads.base import head_of
from bench.identity import canonical, derive
from bench.ledger.model_files import file_digest, path_of
from bench.ledger.unit_records import describe_error, failed_source
from bench.registry import BACKBONES
from bench.suite.packing import place_of
from bench.suite.plan import Plan
from bench.suite.specs import BackboneSpec, ModelSpec
from bench.suite.weightings import UNIFORM
from bench.tasks.base import Task
from bench.training.data import Data, prepare
from bench.training.fit import fit
from bench.training.judge import Judge, Look, storable, stored_point
from bench.training.lanes import Lane, Layout, evaluate
from bench.training.protocol import Pool, split_pool
from bench.training.step import own_modules
from bench.training.weighted import TARGET_HEAD, SourceFacts, Weigh, add_head, meta_set
from bench.trial import SourceModel
from bench.triangle import Phase
from bench.weighting.kept import Weights


@dataclass(frozen=True, eq=False)
class LoadedSource:
    """A source model in memory.

    Attributes
    ----------
    network : Backbone
        With its head, in evaluation mode; copied from, never trained on.
    classes : tuple of str
        What the head's outputs stand for; empty where that is not known.
    accuracy : float or None
        On the source's own test set.
    weights : dict
        Columns of a row that judge its examples' weights; empty for uniform ones.
    """

    network: Backbone
    classes: tuple[str, ...]
    accuracy: float | None
    weights: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of training a source model.

    Attributes
    ----------
    network : Backbone or None
        None where every learning rate diverged.
    record : dict
        What the ledger keeps of it.
    weights : Weights or None
        Of its examples, where they were weighted.
    """

    network: Backbone | None
    record: dict[str, Any]
    weights: Weights | None = None


def train_sources(
    plan: Plan, models: Sequence[SourceModel], task_at: Callable[[str, tuple[int, ...], str | None], Task],
    device: torch.device, layout: Layout,
) -> list[Trained]:  # fmt: skip
    """Train source models of one shape side by side by the suite's source recipe.

    Parameters
    ----------
    task_at : callable
        From a task's name, an input shape and the task that standardises a table (or None) to the task.
    """
    began = time.perf_counter()
    maker = _Lanes(plan, task_at, device, layout)
    lanes = [maker.lane(model) for model in models]
    # By the kind's own metric, whatever the suite's: a source model serves suites of every metric.
    head = lanes[0].data.head
    judge = Judge.of(head.kind)
    fitted = fit(lanes, (Phase(0),), plan.suite.source_recipe, layout, judge=judge)
    looks: dict[Lane, Look] = {}
    for data in {id(lane.data): lane.data for lane in lanes}.values() if head.metric else ():
        of_task = [lane for lane in lanes if lane.data is data]
        looks |= {lane: test.look for lane, test in zip(of_task, evaluate(of_task, 0, layout, judge), strict=True)}
    seconds = (time.perf_counter() - began) / len(models)
    results = []
    for model, lane, found in zip(models, lanes, fitted, strict=True):
        if found.error is not None:
            results.append(Trained(None, failed_source(plan, model, *describe_error(found.error), seconds)))
            continue
        record = {
            "kind": "source",
            "key": model.key,
            "source": model.source,
            "backbone": plan.backbones[model.backbone].label,
            "weighting": model.weighting,
            "source_seed": model.seed,
            "meta": asdict(model.meta) if model.meta else None,
            "status": "ok",
            "source_accuracy": storable(look.accuracy) if (look := looks.get(lane)) else None,
            "source_loss": storable(look.loss) if look else None,
            "val_accuracy": found.val_accuracy,
            "learning_rate": found.learning_rate,
            "steps": found.steps,
            "best_step": found.best_step,
            "classes": list(plan.card(model.source).classes),
            "curve": [stored_point(point) for point in found.curve],
            "seconds": seconds,
            "weights": found.weights.summary() if found.weights else {},
        }
        results.append(Trained(lane.network.eval(), record, found.weights))
    return results


class _Lanes:
    """Makes the lanes of source models, each task's data prepared once."""

    def __init__(
        self, plan: Plan, task_at: Callable[[str, tuple[int, ...], str | None], Task], device: torch.device,
        layout: Layout,
    ):  # fmt: skip
        self.plan, self.task_at, self.device, self.layout = plan, task_at, device, layout
        self._prepared: dict[tuple[str, tuple[int, ...], str | None], Data] = {}

    def lane(self, model: SourceModel) -> Lane:
        """Return a source model as training finds it, with its examples."""
        plan, task = self.plan, self.task_at(model.source, model.shape, model.standardised_by)
        spec, fingerprint = plan.backbones[model.backbone], plan.card(model.source).fingerprint
        identity = (spec.identity(), list(model.shape), fingerprint, model.seed)
        network = build(
            spec.name, model.shape, partial(head_of(task.kind).module, classes=task.classes),
            derive("source body", *identity), derive("source head", *identity), **spec.arguments,
        ).to(self.device)  # fmt: skip
        if task.is_image:
            network = network.to(memory_format=torch.channels_last)
        data = self._data(network, model.source, task, model.standardised_by)
        split = split_pool(Pool.of(task), fingerprint, len(task.y), model.seed, plan.suite.source_recipe, task.classes)
        lane = Lane(network, data, split, len(task.y), model.seed, place=place_of(plan, model))
        lane.weigh, lane.how = self._weigh(model, task, network), plan.source_method(model.source)
        own_modules(lane, task.classes, *identity)
        return lane

    def _data(self, network: Backbone, name: str, task: Task, by: str | None) -> Data:
        key, fingerprint = (name, task.shape, by), self.plan.card(name).fingerprint
        if key not in self._prepared:
            self._prepared[key] = prepare(network, task, self.device, fingerprint, self.layout.memory, by)
        return self._prepared[key]

    def _weigh(self, model: SourceModel, task: Task, network: Backbone) -> Weigh | None:
        """Return how the source's examples are weighted; a head for the target's labels joins the network."""
        spec = self.plan.weightings[model.weighting]
        if spec.name == UNIFORM:
            return None
        if model.meta is None:
            return Weigh(spec, SourceFacts.of(task))
        by = self.plan.standardised_by(model.meta.target, model.meta.target)
        target = self.task_at(model.meta.target, model.shape, by)
        data = self._data(network, model.meta.target, target, by)
        recipe, size, seed = self.plan.suite.recipe, model.meta.size, model.meta.seed
        labelled = split_pool(Pool.of(target), data.fingerprint, size, seed, recipe, target.classes).train
        if spec.learns_from == "inputs":
            return Weigh(spec, SourceFacts.of(task), unlabelled=(data, labelled))
        identity = (data.fingerprint, size, seed)
        meta = meta_set(spec, data, labelled, target.classes, task.classes, recipe.batch_size, identity)
        if spec.own_head:
            add_head(network, TARGET_HEAD, data.head, target.classes, derive("companion head", *identity, model.seed))
        return Weigh(spec, SourceFacts.of(task), meta)


def save_source(network: Backbone, record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Keep a source model as safetensors, whole or not at all; return its record with the file's digest."""
    from safetensors.torch import save_file

    own = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("beside.")}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}
    described = {name: record[name] for name in ("key", "classes", "source_accuracy", "weights")}
    described["digest"] = _content_digest(described, state)
    write_whole(path, lambda place: save_file(state, place, metadata={"ntbench": json.dumps(described)}))
    return record | {"file": file_digest(path)}


def _content_digest(described: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> str:
    """Return the digest of all that a source model's file says: safetensors itself would not notice a flipped bit."""
    said = {name: value for name, value in described.items() if name != "digest"}
    found = hashlib.blake2b(canonical(said).encode(), digest_size=10)
    for name, tensor in sorted(state.items()):
        found.update(canonical([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def save_weights(weights: Weights, path: Path) -> None:
    """Keep what source examples weighed as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    write_whole(path, lambda place: save_file(weights.tensors(), place))


def load_source(plan: Plan, model: SourceModel, folder: Path, device: torch.device) -> LoadedSource:
    """Load a source model that was kept, or that the user hands in.

    Raises
    ------
    DataError
        When the file is missing or damaged, or does not fit the backbone.
    """
    if model.source in plan.models:
        return _load_handed_in(plan, model, device)
    from safetensors import SafetensorError, safe_open

    path, spec = path_of(folder, model), plan.backbones[model.backbone]
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads(file.metadata()["ntbench"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described["key"] != model.key:
            raise ValueError(f"it is the model {described['key']}, put in the place of another")
        if described.get("digest", found := _content_digest(described, state)) != found:
            raise ValueError("its content is not what was written")
        head = partial(head_of(plan.kind(model.source)).module, classes=described["classes"])
        network = build(spec.name, model.shape, head, 0, 0, **spec.arguments)
        network.load_state_dict(state)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"source model {path} is missing or damaged: {error}") from error
    network = network.to(device).eval().requires_grad_(False)
    weights = described.get("weights", {})
    return LoadedSource(network, tuple(described["classes"]), described["source_accuracy"], weights)


def _load_handed_in(plan: Plan, model: SourceModel, device: torch.device) -> LoadedSource:
    """Load a user's state dict or torchvision's published weights into the suite's backbone."""
    from bench.backbones.weights import load_into, load_state_dict_file

    given, spec = plan.models[model.source], plan.backbones[model.backbone]
    try:
        if given.weights:
            network, classes = _published(spec, model.shape, given)
        else:
            network = build(spec.name, model.shape, max(1, len(given.classes)), 0, 0, **spec.arguments)
            load_into(network, load_state_dict_file(given.state_dict), blocks_only=not given.classes, adapt=True)
            classes = given.classes
    except BenchError as error:
        raise DataError(f"model {given.name}: {error}") from error
    return LoadedSource(network.to(device).eval().requires_grad_(False), classes, None)


def _published(spec: BackboneSpec, shape: tuple[int, ...], given: ModelSpec) -> tuple[Backbone, tuple[str, ...]]:
    """Return torchvision's published model and the classes of its head (none where it cannot be kept)."""
    if "weights" not in BACKBONES.get(spec.name).parameters:
        raise DataError(f'backbone "{spec.name}" has no published weights; torchvision\'s models have')
    arguments = {**spec.arguments, "weights": given.weights, "download": given.download}
    network = build(spec.name, shape, 1, 0, 0, **arguments)
    if network.published_head is None:
        if given.classes:
            raise DataError(f'the published classifier of "{spec.name}" is no linear head to keep; leave "classes" out')
        return network, ()
    from bench.backbones.vision_build import find_weights

    network.head = network.published_head
    classes = tuple(find_weights(spec.name, given.weights).meta["categories"])
    unknown = [name for name in given.classes if name not in classes]
    if unknown:
        raise DataError(f'the published classes have no "{unknown[0]}"{nearest(unknown[0], classes)}')
    return network, classes
