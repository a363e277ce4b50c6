"""What the free-form entries of a suite mean: tasks with changes, backbones, models.

Each reader returns the meaning or adds :class:`~bench.errors.Problem` after problem to a list, so that
a suite's mistakes are all found in one pass.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import BenchError, Problem, closest, nearest
from bench.identity import canonical, digest
from bench.registry import BACKBONES, CHANGES, TASKS, Entry, Registry, changed_classes, known_classes
from bench.suite.model import Suite
from bench.trial import named_shapes

MAX_NESTED = 40  # tasks that change tasks that change tasks ...
MAX_PARTS = 1_000  # tasks that one is made of, each counted as often as it is used
SHORTHANDS = {"folder": "image-folder", "npz": "npz", "table": "table"}


@dataclass(frozen=True)
class TaskSpec:
    """A task as a suite asks for it: a registered task or another of the suite's, and changes to it.

    Attributes
    ----------
    base : str
        A registered name; empty where `parent` is given.
    parent : TaskSpec or None
        Another task of the suite that this one changes.
    changes : tuple of (name, arguments)
        In the order of application; a task among the arguments is a TaskSpec.
    entry : str
        The suite and the place in it: what stands for the files that are named there, since a path is no identity.
    """

    name: str
    base: str = ""
    parent: TaskSpec | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    entry: str = ""

    def to_json(self, entries: bool = True) -> dict[str, Any]:
        """Return the whole specification as JSON-able values: versions of what it calls included, paths left out.

        Parameters
        ----------
        entries : bool
            Whether files are told apart by the entry of the suite that names them.
        """
        registered = TASKS.get(self.base) if self.base else None
        paths = path_arguments(registered) if registered else ()
        arguments = {name: value for name, value in self.arguments.items() if name not in paths}
        if entries and len(arguments) < len(self.arguments):
            arguments["entry"] = self.entry
        changes = [
            [name, CHANGES.get(name).version, {k: _plain(v, entries) for k, v in given.items()}]
            for name, given in self.changes
        ]
        return {
            "base": self.base,
            "version": registered.version if registered else None,
            "parent": self.parent.to_json(entries) if self.parent else None,
            "args": arguments,
            "changes": changes,
        }

    def classes(self) -> tuple[str, ...] | None:
        """Return the class names as far as they are known without the data, else None."""
        try:
            names = self.parent.classes() if self.parent else known_classes(self.base, self.arguments)
            for change, arguments in self.changes:
                known = {k: v.classes() if isinstance(v, TaskSpec) else v for k, v in arguments.items()}
                if names is None or any(isinstance(v, TaskSpec) and known[k] is None for k, v in arguments.items()):
                    return None
                names = changed_classes(change, names, known)
        except (BenchError, TypeError, ValueError):
            return None  # an argument is wrong; building the task says which
        return names

    @cached_property
    def parts(self) -> int:
        """Tasks that this one is made of, itself included: one that is used twice counts twice."""
        others = [value for _, arguments in self.changes for value in arguments.values()]
        nested = [self.parent, *(value for value in others if isinstance(value, TaskSpec))]
        return 1 + sum(spec.parts for spec in nested if spec is not None)

    @cached_property
    def digest(self) -> str:
        """Digest of the specification (not of the data), under which a run folder keeps what it knows of them."""
        return digest(self.to_json())

    @cached_property
    def seed(self) -> str:
        """Digest of the specification without a word on where files are: it seeds random changes."""
        return digest(self.to_json(entries=False))


def path_arguments(entry: Entry) -> tuple[str, ...]:
    """Name the arguments of a registered task that are paths: relative to the suite, and never part of an identity."""
    return tuple(entry.meta.get("paths", ()))


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a suite's configuration without what says where files are: equal for copies of one suite anywhere."""
    plain = {name: value for name, value in config.items() if name not in ("folder", "data_root")}
    plain["plugins"] = [Path(name).name for name in config.get("plugins") or ()]
    plain["tasks"] = {name: _without_paths(table) for name, table in (config.get("tasks") or {}).items()}
    plain["models"] = {
        name: {key: value for key, value in table.items() if key != "state_dict"}
        for name, table in (config.get("models") or {}).items()
    }
    return plain


def _without_paths(table: Any) -> Any:
    """Leave the paths of a task's table, and of tables within it, out."""
    if not isinstance(table, Mapping):
        return table
    short = next((key for key in SHORTHANDS if key in table and "task" not in table), None)
    base = table.get("task") if short is None else SHORTHANDS[short]
    paths = path_arguments(TASKS.get(base)) if isinstance(base, str) and base in TASKS else ()
    return {key: None if key in (short, *paths) else _without_paths(value) for key, value in table.items()}


def _plain(value: Any, entries: bool = True) -> Any:
    return value.to_json(entries) if isinstance(value, TaskSpec) else value


def unstorable(arguments: Mapping[str, Any]) -> list[str]:
    """Say which arguments cannot be part of a key: dates, NaN and infinities."""
    found = []
    for name, value in arguments.items():
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            found.append(f"{name}: a value that cannot be stored: {error}")
    return found


def read_entry(registry: Registry, name: str, arguments: Mapping[str, Any], found: list[str]) -> Entry | None:
    """Return what is registered under a name; None where it or an argument is wrong, which is added to `found`."""
    try:
        entry = registry.get(name)
    except BenchError as error:
        found.append(str(error))
        return None
    wrong = [*entry.problems(arguments), *unstorable(arguments)]
    found += wrong
    return None if wrong else entry


class TaskReader:
    """Reads the tasks that a suite names, inline or in its [tasks] table."""

    def __init__(self, suite: Suite, problems: list[Problem]):
        self.suite = suite
        self.problems = problems
        self._done: dict[str, TaskSpec | None] = {}
        self._open: list[str] = []

    def read(self, name: str, place: str) -> TaskSpec | None:
        """Return the task called `name`: one of the suite's, else a registered one."""
        if name in self._done:
            return self._done[name]
        if name in self._open:
            self._problem(place, f'task "{name}" is defined by itself: {" -> ".join([*self._open, name])}')
            return None
        if name in self.suite.tasks:
            spec = self.table(name, self.suite.tasks[name], f"tasks.{name}")
        elif name in TASKS:
            spec = TaskSpec(name, base=name)
            self._arguments(TASKS.get(name), {}, place)
        elif name in self.suite.models:
            self._problem(place, f'"{name}" is a source model that is handed in: it can be a source only')
            spec = None
        else:
            known = [*self.suite.tasks, *self.suite.models, *TASKS.names()]
            self._problem(place, f'unknown task "{name}"{nearest(name, known) or "; see: ntbench list tasks"}')
            spec = None
        self._done[name] = spec
        return spec

    def table(self, name: str, table: str | Mapping[str, Any], place: str) -> TaskSpec | None:
        """Read one entry of [tasks], or an inline table with the same keys."""
        if len(self._open) >= MAX_NESTED:
            self._problem(place, f"more than {MAX_NESTED} tasks are nested in each other here")
            return None
        self._open.append(place.removeprefix("tasks."))
        spec = self._table(name, table, place)
        self._open.pop()
        return spec

    def _table(self, name: str, table: str | Mapping[str, Any], place: str) -> TaskSpec | None:
        table = {"task": table} if isinstance(table, str) else dict(table)
        for key, task in SHORTHANDS.items():
            if key in table and "task" not in table:
                table = {"task": task, **{("path" if k == key else k): v for k, v in table.items()}}
                break
        base = table.pop("task", None)
        parent, meant = None, None
        if not isinstance(base, str):
            self._problem(place, f'say which task: task = "..." or one of {", ".join(SHORTHANDS)}')
            base = None
        elif base in self.suite.tasks and base != name:
            parent = self.read(base, f"{place}.task")
        elif base not in TASKS:
            known = [*self.suite.tasks, *TASKS.names()]
            self._problem(
                f"{place}.task", f'unknown task "{base}"{nearest(base, known) or "; see: ntbench list tasks"}'
            )
            meant = closest(base, known)
        if parent is None and base not in TASKS:
            known = base in self.suite.tasks or meant is not None
            table = table if known else {key: value for key, value in table.items() if key in CHANGES}
            self._rest(table, meant, place)
            return None
        entry = None if parent else TASKS.get(base)
        arguments, changes = self._split(table, entry, place)
        if entry:
            if self.suite.image_size and entry.meta.get("suite_sized"):
                # What images of many sizes are read at: from here on it is a part of what the task is.
                arguments.setdefault("image_size", self.suite.image_size)
            self._arguments(entry, arguments, place)
        where = f"{self.suite.name}: {place}"
        spec = TaskSpec(name, "" if parent else base, parent, arguments, tuple(changes), where)
        if spec.parts > MAX_PARTS:
            self._problem(place, f"made of {spec.parts:,} tasks, each counted as often as it is used: too many")
            return None
        return spec

    def _split(self, table: Mapping[str, Any], entry: Any, place: str) -> tuple[dict, list]:
        """Tell a table's arguments from its changes."""
        arguments: dict[str, Any] = {}
        changes: list[tuple[str, dict[str, Any]]] = []
        for key, value in table.items():
            if entry and (key in entry.parameters or (entry.accepts_any and key not in CHANGES)):
                arguments[key] = self._path(entry, key, value)
            elif key in CHANGES:
                read = self._change(key, value, f"{place}.{key}")
                if read is not None:
                    changes.append((key, read))
            else:
                known = [*(entry.parameters if entry else ()), *CHANGES.names()]
                what = f'neither an argument of "{entry.name}" nor a change' if entry else "not a change"
                self._problem(place, f'"{key}" is {what}{nearest(key, known)}')
        return arguments, changes

    def _rest(self, table: Mapping[str, Any], meant: str | None, place: str) -> None:
        """Check what stands beside a wrong task: its changes, and the arguments of the one that may be meant."""
        before = len(self.problems)
        entry = TASKS.get(meant) if meant in TASKS and meant not in self.suite.tasks else None
        arguments, _ = self._split(table, entry, place)
        if entry:
            self._arguments(entry, arguments, place)
        if meant:
            self.problems[before:] = [
                Problem(place, f'{problem.message} (if task "{meant}" is meant)') if problem.place == place else problem
                for problem in self.problems[before:]
            ]

    def _path(self, entry: Any, key: str, value: Any) -> Any:
        """Make a path of the suite absolute; a second file may also be named from beside the first."""
        paths = path_arguments(entry)
        if key in paths and isinstance(value, Mapping):
            return {name: self._path(entry, key, path) for name, path in value.items()}
        if key not in paths or not isinstance(value, str) or not value:
            return value
        path = self.suite.resolve(value)
        return str(path) if key == paths[0] or os.path.exists(path) else value

    def _change(self, name: str, value: Any, place: str) -> dict[str, Any] | None:
        entry = CHANGES.get(name)
        if value is False:
            return None
        if isinstance(value, Mapping):
            arguments = dict(value)
        elif value is True:
            arguments = {}
        elif entry.parameters:
            arguments = {next(iter(entry.parameters)): value}
        else:
            self._problem(place, f'change "{name}" takes no value; write {name} = true')
            return None
        if isinstance(arguments.get("task"), str | Mapping) and "task" in entry.parameters:
            other = arguments["task"]
            spec = self.read(other, place) if isinstance(other, str) else self.table("mixed-in", other, place)
            if spec is None:
                return None
            arguments["task"] = spec
        self._arguments(entry, arguments, place)
        return arguments

    def _arguments(self, entry: Any, arguments: Mapping[str, Any], place: str) -> None:
        for message in entry.problems(arguments):
            self._problem(place, message)
        for message in unstorable({k: _plain(v) for k, v in arguments.items()}):
            self._problem(place, message)

    def _problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone as a suite asks for it."""

    label: str
    name: str
    arguments: Mapping[str, Any]
    version: int
    depth: int

    def identity(self) -> list[Any]:
        """What decides the network: everything but the label."""
        return [self.name, self.version, dict(self.arguments)]

    def lanes(self, asked: int | str, shape: tuple[int, ...], machine: str) -> int:
        """Return how many trainings share a stack: what is asked for, else what measured fastest."""
        measured = BACKBONES.get(self.name).meta.get("lanes")
        if measured is None or named_shapes(shape):
            return 1
        return measured(shape, machine) if asked == "auto" else int(asked)


def read_backbone(value: str | Mapping[str, Any], place: str, problems: list[Problem]) -> BackboneSpec | None:
    """Read one entry of `backbones`."""
    table = {"backbone": value} if isinstance(value, str) else dict(value)
    name, label = table.pop("backbone", None), table.pop("name", None)
    found: list[str] = []
    if not isinstance(label, str | None):
        found.append(f"name = {label!r} is not text")
    if table.pop("weights", None) is not None:
        found.append('published weights are a source: name them under [models], as { weights = "DEFAULT" }')
    if not isinstance(name, str):
        found.append('say which: backbone = "..."')
    elif entry := read_entry(BACKBONES, name, table, found):
        depth = entry.meta["depth"]
        try:
            depth = depth(**table) if callable(depth) else int(depth)
        except BenchError as error:
            found.append(str(error))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    problems.extend(Problem(place, message) for message in found)
    if found:
        return None
    return BackboneSpec(label or name, name, table, entry.version, depth)


@dataclass(frozen=True)
class ModelSpec:
    """A source model that is handed in: a state-dict file, or torchvision's published weights.

    Attributes
    ----------
    classes : tuple of str
        What the outputs of a file's head stand for, in their order; or those of the published classes
        that a target may have. Without them no head is kept, so there is no zero-shot trial.
    """

    name: str
    state_dict: str | None = None
    weights: str | None = None
    download: bool = False
    classes: tuple[str, ...] = ()
    entry: str = ""

    @property
    def digest(self) -> str:
        """Digest of the suite's entry, under which a run folder keeps the content of the file."""
        return digest(["model", self.entry])


_MODEL_TYPES = {"state_dict": str, "weights": str, "download": bool, "classes": list | tuple}
_MODEL_WORDS = {
    "state_dict": "a path", "weights": "a name", "download": "true or false", "classes": "a list of names",
}  # fmt: skip


def read_model(suite: Suite, name: str, problems: list[Problem]) -> ModelSpec | None:
    """Read one entry of [models]; whether its file is there is for :func:`missing_file` to say."""
    table, place = dict(suite.models[name]), f"models.{name}"
    found = [
        Problem(place, f'"{key}" is not part of a model{nearest(key, _MODEL_TYPES)}')
        for key in table
        if key not in _MODEL_TYPES
    ]
    if ("state_dict" in table) == ("weights" in table) and not found:  # what is misspelt may be one of them
        found.append(Problem(place, 'give either state_dict = "FILE" or weights = "NAME"'))
    wrong = [key for key, kind in _MODEL_TYPES.items() if key in table and not isinstance(table[key], kind)]
    found += [Problem(f"{place}.{key}", f"{table[key]!r} is not {_MODEL_WORDS[key]}") for key in wrong]
    classes = tuple(table.get("classes", ())) if "classes" not in wrong else ()
    if not all(isinstance(c, str) for c in classes) or len(set(classes)) < len(classes) or len(classes) == 1:
        message = "needs at least two different names, in the order of the head"
        found.append(Problem(f"{place}.classes", message))
    problems += found
    if found:
        return None
    if "state_dict" in table:
        table["state_dict"] = str(suite.resolve(table["state_dict"]))
    return ModelSpec(name, **{**table, "classes": classes}, entry=f"{suite.name}: {place}")


def missing_file(spec: ModelSpec) -> Problem | None:
    """Return the problem of a handed-in model whose file is not there, with the nearest match beside it."""
    if spec.state_dict is None or os.path.isfile(spec.state_dict):
        return None
    path = Path(spec.state_dict)
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return Problem(f"models.{spec.name}.state_dict", f"no file at {path}{nearest(path.name, beside)}")
