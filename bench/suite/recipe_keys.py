"""The keys of a recipe in words: what each means and what may stand there."""

from __future__ import annotations

import inspect
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from bench.suite.model import Recipe

_ENTRY = re.compile(r"^(\w+) : .*\n((?:^    .*\n?)+)", re.MULTILINE)
_BOUNDS = {"ge": "{:g} or more", "gt": "above {:g}", "lt": "below {:g}", "le": "{:g} or less"}
_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def meanings() -> dict[str, str]:
    """Return what each key means, as the docstring of :class:`~bench.suite.model.Recipe` says it."""
    section = inspect.getdoc(Recipe).partition("Attributes\n----------\n")[2]
    return {name: " ".join(text.split()).replace("`", "") for name, text in _ENTRY.findall(section)}


def allowed(name: str) -> str:
    """Return what may stand for a key, in words."""
    return _words(get_type_hints(Recipe, include_extras=True)[name])


def _words(annotation: Any, bounds: tuple[str, ...] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], (*bounds, *_bounds(arguments[1:])))
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in arguments)
    if origin is tuple:
        return f"a list, each {_words(arguments[0])}"
    if origin in (Union, types.UnionType):
        parts = [_words(part, bounds) for part in arguments if part is not types.NoneType]
        return " or ".join([*parts, *(["left out"] if types.NoneType in arguments else [])])
    return ", ".join([_TYPES.get(annotation, str(annotation)), *bounds])


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    """Say the bounds that pydantic keeps with a type."""
    parts = [part for entry in metadata for part in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    return [
        text.format(value)
        for part in parts
        for key, text in _BOUNDS.items()
        if isinstance(value := getattr(part, key, None), int | float)
    ]
