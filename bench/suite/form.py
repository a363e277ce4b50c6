"""The form of a suite: which keys there are and what may stand there, as pydantic finds it, in one pass.

What is malformed would hide the mistakes in all else. So something sound takes its place, and the suite is read
again until nothing is malformed; what is found then of what only stands in is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.errors import Problem, nearest
from bench.suite.model import Clash, Contrast, Pairs, Recipe, Statistics, Suite

MAX_ROUNDS = 20  # each finds what those before it hid
MAX_ITEMS = 1_000  # that are said of one round
MAX_SHOWN = 200  # characters of a value in a message
_TABLES: dict[str, type[BaseModel]] = {
    "": Suite, "recipe": Recipe, "source_recipe": Recipe, "statistics": Statistics, "pairs": Pairs,
}  # fmt: skip
# What takes the place of an entry, so that the others keep theirs: a task, and what is refused, each unlike the others.
_ENTRIES: dict[str, Callable[[int | str], Any]] = {
    "backbones": lambda index: {"backbone": index},
    "strategies": lambda index: {"strategy": index},
    "weighting": lambda index: {"weighting": index},
    "measures": lambda index: f"\0{index}",
    "tasks": lambda name: "digits",
    "models": lambda name: {},
}
_PAIR = {"target": "digits", "source": "digits"}
# What data are read with: where one of these is malformed, they are not.
_OF_DATA = {
    "image_size", "data_root", "standardise", "metric", "unlabelled_size", "validation", "validation_share",
    "validation_size", "augment",
}  # fmt: skip
# What TOML calls the forms that pydantic asks for.
_FORMS = {
    "string_type": "text", "dict_type": "a table", "model_type": "a table", "tuple_type": "a list",
    "int_type": "a whole number", "int_from_float": "a whole number", "int_parsing": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "bool_type": "true or false",
    "bool_parsing": "true or false",
}  # fmt: skip

Path = tuple[str | int, ...]


@dataclass
class Form:
    """A suite that has the form of one, and what was wrong with that.

    Parameters
    ----------
    suite : Suite or None
        With something sound where something was malformed; None where nothing helps.
    problems : list of Problem
        What was malformed.
    mended : set of tuple
        Where: keys and positions that lead there.
    """

    suite: Suite | None
    problems: list[Problem] = field(default_factory=list)
    mended: set[Path] = field(default_factory=set)

    @property
    def unknown_pairs(self) -> set[int]:
        """Entries of `pairs` of which something is not known."""
        if ("pairs",) in self.mended:
            return set(range(len(self.suite.pairs)))
        return {path[1] for path in self.mended if path[0] == "pairs"}

    def others(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return the problems of what does not only stand in for something."""
        void = tuple(_place(path[:2]) for path in self.mended if path[0] in _ENTRIES)
        return [
            problem
            for problem in problems
            if not any(problem.place == place or problem.place.startswith(f"{place}.") for place in void)
        ]

    def readable(self, suite: Suite) -> Suite | None:
        """Return what of the suite data can be read for; None where it is malformed how they are read."""
        if any(set(path) & _OF_DATA or path in (("recipe",), ("source_recipe",)) for path in self.mended):
            return None
        pairs = tuple(entry for index, entry in enumerate(suite.pairs) if index not in self.unknown_pairs)
        tasks = {name: table for name, table in suite.tasks.items() if ("tasks", name) not in self.mended}
        if not pairs or ("target_sizes",) in self.mended:
            return None
        return suite.model_copy(update={"pairs": pairs, "tasks": tasks})


def read_form(values: Mapping[str, Any]) -> Form:
    """Read the values of a suite, and find everything that is malformed."""
    values, form = _copied(values), Form(None)
    for _ in range(MAX_ROUNDS):
        try:
            form.suite = Suite.model_validate(values)
            break
        except ValidationError as error:
            every = error.errors(include_url=False)
        items = [item for item in every if not _follows(item)] or every
        found = [(item, _path(item, values)) for item in items]
        form.problems += _translate(found[:MAX_ITEMS], form.mended)
        for _, path in found:
            form.mended.add(_mend(values, path))
        sizes = values.get("target_sizes")
        if isinstance(sizes, list):
            values["target_sizes"] = [size for size in sizes if size is not None] or [1]
            form.mended |= set() if any(size is not None for size in sizes) else {("target_sizes",)}
    return form


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value


def _follows(item: Mapping[str, Any]) -> bool:
    """Whether an error only follows from others: a list is too short because its items were wrong."""
    return item["type"] == "too_short" and bool(item.get("input"))


def _path(item: Mapping[str, Any], values: Any) -> Path:
    """Return the keys and positions that lead to an error: pydantic also names the forms that it tried."""
    path, at = [], values
    for part in item["loc"]:
        if part in at if isinstance(at, Mapping) else isinstance(at, list) and part in range(len(at)):
            path.append(part)
            at = at[part]
    return (*path, item["loc"][-1]) if item["type"] == "missing" else tuple(path)


def _mend(values: dict[str, Any], path: Path) -> Path:
    """Put something sound in the place of what is malformed, or take it away; return what was changed."""
    top, *inner = path
    if top == "pairs":
        _mend_pairs(values, inner)
    elif top == "target_sizes" and inner:
        values[top][inner[0]] = None  # taken away when all are known
    elif top == "target_sizes":
        values[top] = [1]
    elif top in _ENTRIES and inner:
        values[top][inner[0]] = _ENTRIES[top](inner[0])
    elif top == "backbones":
        values[top] = [_ENTRIES[top](0)]
        return (top, 0)
    else:
        table, key, at = values, top, values.get(top)
        for part in inner:
            if not isinstance(at, dict | list):
                break  # taken away already
            if isinstance(at, dict):
                table, key = at, part
            at = at.get(part) if isinstance(at, dict) else at[part]
        table.pop(key, None)
    return path


def _mend_pairs(values: dict[str, Any], inner: Sequence[str | int]) -> None:
    if not inner:
        values["pairs"] = [dict(_PAIR)]
        return
    entries, (index, *keys) = values["pairs"], inner
    entry = entries[index]
    if not isinstance(entry, dict):
        entries[index] = dict(_PAIR)
    elif not keys:  # both forms, or neither
        entries[index] = {"target": entry["target"], "source": _PAIR["source"]}
    elif keys[0] == "sources" and len(keys) > 1:
        entry["sources"][keys[1]] = _PAIR["source"]
    elif keys[0] == "sources":
        entry["sources"] = [_PAIR["source"]]
    elif keys[0] in _PAIR:
        entry[keys[0]] = _PAIR[keys[0]]
    else:
        entry.pop(keys[0], None)


def _translate(found: list[tuple[Any, Path]], mended: set[Path]) -> list[Problem]:
    """Turn pydantic's errors into problems that name the place, the value and what is allowed."""
    forms: dict[str, list[str]] = {}
    problems: dict[str, Problem] = {}
    for number, (item, path) in enumerate(found):
        place, kind, message = _place(path), item["type"], item["msg"]
        clash = item.get("ctx", {}).get("error")
        if isinstance(clash, Clash):
            for keys, text in clash.found:
                if not any((*path, key) in {one[: len(path) + 1] for one in mended} for key in keys):
                    problems[f"{place} {text}"] = Problem(place, text)
        elif any(one[: len(path)] == path for one in mended):
            continue  # follows from what was taken away
        elif form := _FORMS.get(kind) or (message.startswith(_SHOULD) and message.removeprefix(_SHOULD)):
            # Where one of several forms is allowed, each that does not fit is an error of its own.
            allowed = forms.setdefault(place, [])
            if form not in allowed:
                allowed.append(form)
            problems[place] = Problem(place, f"must be {' or '.join(allowed)}, got {_shown(item.get('input'))}")
        else:
            problems[f"{place} {number}"] = _problem(place, path, item)
    return list(problems.values())


_SHOULD = "Input should be "


def _place(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _problem(place: str, path: Path, item: Mapping[str, Any]) -> Problem:
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        key = str(path[-1])
        table = Contrast if path[1:2] == ("contrasts",) else _TABLES[str(path[0]) if len(path) > 1 else ""]
        known = table.model_fields
        hint = nearest(key, known) or f"; allowed: {', '.join(k for k in known if k != 'folder')}"
        return Problem(place, f'unknown key "{key}"{hint}')
    if kind == "missing":
        return Problem(place, "is missing")
    if kind == "value_error":
        return Problem(place, message)
    if kind == "string_pattern_mismatch":
        message = "must be letters, digits, dots, hyphens and underscores, a letter or digit first"
    return Problem(place, f"{message}, got {_shown(item.get('input'))}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
