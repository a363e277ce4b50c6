"""Named things that a suite can ask for: tasks, changes, backbones, strategies, adaptations, methods,
metrics, kinds, weightings, measures.

Each kind has one :class:`Registry`. Built-in names come from the `BUILTIN` table in the `index` module
of the floor that owns them (name -> module to import), so that listing and validating names stays
cheap; plug-in files and packages (entry points in the group ``ntbench.plugins``) add to it with the
decorators :func:`bench.task`, :func:`bench.strategy` and so on.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError, nearest, unknown

ENTRY_POINT_GROUP = "ntbench.plugins"


@dataclass(frozen=True)
class Entry:
    """A registered function and what is known about it without calling it.

    Attributes
    ----------
    kind, name : str
    function : callable
    version : int
        Raised by the author when the function's results change.
    given : int
        How many leading parameters the harness supplies; the rest are the user's.
    meta : mapping
        What a kind needs besides (the depth of a backbone, the class names of a task, ...).
    """

    kind: str
    name: str
    function: Callable[..., Any]
    version: int = 1
    given: int = 1
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a user may set, by name."""
        every = list(inspect.signature(self.function).parameters.values())[self.given :]
        return {p.name: p for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}

    @property
    def accepts_any(self) -> bool:
        """Whether the function takes arbitrary keyword arguments."""
        every = inspect.signature(self.function).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in every)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def built_in(self) -> bool:
        """Whether the function is ntbench's; what another raises is a mistake in a plug-in."""
        return self.function.__module__.partition(".")[0] == __name__.partition(".")[0]

    def raised(self, error: BaseException) -> str:
        """Say what the function raised, with the line of its file that this came through last."""
        text = str(error).strip()
        said = f'{self.kind} "{self.name}": {type(error).__name__}{f": {text}" if text else ""}'
        code = getattr(self.function, "__code__", None)
        if code is None:
            return said
        line = _line(error, Path(code.co_filename))
        return f"{said} ({code.co_filename}, line {code.co_firstlineno if line == '?' else line})"

    @contextmanager
    def blamed(
        self, mistakes: tuple[type[Exception], ...] = (), passing: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Say of a plug-in which of its lines raised what; an exception of a built-in entry is a bug, and stays.

        Parameters
        ----------
        mistakes : tuple of exception types
            What is a user's mistake even where a built-in entry raises it.
        passing : tuple of exception types
            What stays as it is, whoever raises it.

        Raises
        ------
        BenchError
            In place of what a plug-in raises.
        """
        try:
            yield
        except Exception as error:
            bug = self.built_in and not isinstance(error, mistakes)
            if bug or isinstance(error, (BenchError, *passing)):
                raise
            raise BenchError(self.raised(error)) from error

    def problems(self, arguments: Mapping[str, Any]) -> list[str]:
        """Say what is wrong with `arguments`: unknown names and missing ones, all of them."""
        found = []
        for name in arguments:
            if name not in self.parameters and not self.accepts_any:
                known = ", ".join(self.parameters) or "none"
                hint = nearest(name, self.parameters) or f"; allowed: {known}"
                found.append(f'{self.kind} "{self.name}" has no argument "{name}"{hint}')
        for name, parameter in self.parameters.items():
            if parameter.default is parameter.empty and name not in arguments:
                found.append(f'{self.kind} "{self.name}" needs the argument "{name}"')
        return found


class Registry:
    """Names of one kind.

    Parameters
    ----------
    kind : str
        What the names are, as an error message says it.
    index : str
        Module with a table ``BUILTIN`` of name -> module that registers it when imported.
    """

    def __init__(self, kind: str, index: str):
        self.kind = kind
        self._index = index
        self._entries: dict[str, Entry] = {}

    @cached_property
    def _builtin(self) -> dict[str, str]:
        return importlib.import_module(self._index).BUILTIN

    def register(
        self, name: str, function: Callable[..., Any], *, version: int = 1, given: int = 1, **meta: Any
    ) -> Entry:
        """Add an entry; registering a known name again is an error unless it is the same function.

        Raises
        ------
        BenchError
            When the name is taken by another function.
        """
        if not isinstance(name, str) or not name:
            raise BenchError(f"a {self.kind} needs a name, got {name!r}")
        owner = self._builtin.get(name)
        known = self._entries.get(name)
        taken = known is not None and not _same_function(known.function, function)
        if taken or (owner is not None and function.__module__ != owner):
            raise BenchError(f'the {self.kind} name "{name}" is already taken; choose another')
        entry = Entry(self.kind, name, function, version=version, given=given, meta=meta)
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> Entry:
        """Return the entry called `name`, importing its module if need be.

        Raises
        ------
        UnknownName
            With the nearest match.
        """
        if name not in self._entries:
            if name in self._builtin:
                importlib.import_module(self._builtin[name])
            else:
                load_packages()
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        return self._entries[name]

    def names(self) -> list[str]:
        """Every name, built-in ones first, in the order of their tables."""
        return list(dict.fromkeys([*self._builtin, *self._entries]))

    def __contains__(self, name: object) -> bool:
        if name in self._entries or name in self._builtin:
            return True
        load_packages()
        return name in self._entries


def _same_function(a: Callable[..., Any], b: Callable[..., Any]) -> bool:
    """Whether two functions are one definition (a plug-in file loaded twice, say)."""
    return (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__)


TASKS = Registry("task", "bench.tasks.index")
CHANGES = Registry("change", "bench.tasks.index_changes")
BACKBONES = Registry("backbone", "bench.backbones.index")
STRATEGIES = Registry("strategy", "bench.transfer.index")
ADAPTATIONS = Registry("adaptation", "bench.adaptations.index")
HEADS = Registry("kind of task", "bench.heads.index")
METHODS = Registry("method", "bench.methods.index")
WEIGHTINGS = Registry("weighting", "bench.weighting.index")
METRICS = Registry("metric", "bench.metrics.index")
MEASURES = Registry("measure", "bench.similarity.index")


def known_classes(name: str, arguments: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names of the task called `name` without building it, or None where only the data tell."""
    known = TASKS.get(name).meta.get("classes")
    if known is None:
        return None
    return tuple(str(c) for c in (known(**arguments) if callable(known) else known))


def changed_classes(name: str, before: Sequence[str], arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names after the change called `name`; arguments that are tasks hold class names."""
    known = CHANGES.get(name).meta.get("classes")
    return tuple(before) if known is None else tuple(known(tuple(before), **arguments))


_loaded_packages: set[str] = set()


def load_packages() -> None:
    """Import every installed package that announces itself as a plug-in (once).

    Raises
    ------
    DataError
        When one cannot be imported, with its name.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.value in _loaded_packages:
            continue
        try:
            point.load()
        except BenchError:
            raise
        except (Exception, SystemExit) as error:
            message = f'plug-in package "{point.name}" ({point.value}): {type(error).__name__}: {error}'
            raise DataError(message) from error
        _loaded_packages.add(point.value)


def _module_name(path: Path) -> str:
    """Return what a plug-in is called as a module.

    Named by its path, so that two plug-ins with one file name can be used together, and a worker process that
    loads the file again finds the same name.
    """
    path = path.resolve()
    return f"ntbench_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"


def is_loaded(path: str | Path) -> bool:
    """Whether this process has imported a plug-in file."""
    return _module_name(Path(os.path.expanduser(path))) in sys.modules


def load_plugin(path: str | Path) -> None:
    """Import a plug-in file, so that what it registers can be named in a suite: this runs its code.

    Only what a user asks to run may get here: a suite file's `plugins`, or ``--plugin``. A run folder's
    ledger names plug-ins too, but may come from somebody else (:func:`is_loaded`).

    Raises
    ------
    DataError
        When the file is missing or raises while it is imported; the message has the line.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):
        raise DataError(f"no plug-in file at {path}")
    path, name = path.resolve(), _module_name(path)
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        text = error.msg if isinstance(error, SyntaxError) else error
        what = "" if isinstance(error, BenchError) else f"{type(error).__name__}: "
        raise DataError(f"plug-in {path}, line {_line(error, path)}: {what}{text}") from error


def _line(error: BaseException, path: Path) -> int | str:
    """Return the line of the file that an error came through last; "?" where it came through none."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or "?"
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or "?" for frame in reversed(frames) if frame.filename == str(path)), "?")
