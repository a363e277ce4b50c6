"""``ntbench list``: what a suite can name."""

from __future__ import annotations

import inspect
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Plugins

if TYPE_CHECKING:
    from bench.registry import Entry, Registry

_HOLD = "\x00=\x00"
KINDS = (
    "tasks", "changes", "backbones", "strategies", "methods", "adaptations", "measures", "weightings", "metrics",
    "heads",
)  # fmt: skip
RECIPE = "recipe"


def registries() -> dict[str, Registry]:
    """Return the registry of each kind of name."""
    from bench import registry

    known = (
        registry.TASKS, registry.CHANGES, registry.BACKBONES, registry.STRATEGIES, registry.METHODS,
        registry.ADAPTATIONS, registry.MEASURES, registry.WEIGHTINGS, registry.METRICS, registry.HEADS,
    )  # fmt: skip
    return dict(zip(KINDS, known, strict=True))


def list_names(
    kind: Annotated[
        str | None, typer.Argument(metavar="|".join((*KINDS, RECIPE)), help="What to list; all names by default.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List what a suite can name.

    Tasks, changes to them, backbones, strategies, methods, adaptations, measures of similarity, weightings,
    metrics and heads (kinds of task); with one of these words, what each is and its arguments with their
    defaults. "recipe" lists the keys of [recipe] and [source_recipe].
    """
    from bench.errors import unknown
    from bench.registry import load_packages, load_plugin

    load_packages()
    for path in plugin or ():
        load_plugin(path)
    known = registries()
    if kind is None:
        _print_names(known)
    elif kind in known:
        _print_entries(known[kind])
    elif kind == RECIPE:
        _print_recipe()
    else:
        raise unknown("kind of name", kind, (*KINDS, RECIPE))


def _print_names(known: dict[str, Registry]) -> None:
    for kind, registry in known.items():
        names = registry.names()
        print(f"{kind} ({len(names)})")
        print(textwrap.indent(_wrap(", ".join(names), _width() - 2), "  "))
    print("\nntbench list KIND says what each is and what arguments it takes; ntbench list recipe, the recipe's keys.")


def _print_entries(registry: Registry) -> None:
    for name in registry.names():
        entry = registry.get(name)
        print(name)
        near = f"{entry.meta['near']} is near" if "near" in entry.meta else ""
        of = ", ".join(entry.meta.get("kinds", ()))
        kinds = f"for tasks of the kind {of}" if of else ""
        for text in filter(None, [entry.summary, arguments_of(entry), near, kinds]):
            print(textwrap.indent(_wrap(text, _width() - 4), "    "))


def _print_recipe() -> None:
    """Print each key of a recipe: what it means, its default, that of source models, and what is allowed."""
    from bench.suite.model import SOURCE_RECIPE, Recipe
    from bench.suite.recipe_keys import allowed, meanings

    meaning = meanings()
    for name, field in Recipe.model_fields.items():
        default = f"{name} = {_toml(field.default)}"
        if name in SOURCE_RECIPE:
            default += f" ([source_recipe]: {_toml(SOURCE_RECIPE[name])})"
        print(name)
        for text in (meaning.get(name, ""), f"{default}; {allowed(name)}"):
            print(textwrap.indent(_wrap(text, _width() - 4), "    "))


def _wrap(text: str, width: int) -> str:
    """Wrap at spaces, but not within "argument = value"."""
    held = text.replace(" = ", _HOLD)
    return textwrap.fill(held, width, break_long_words=False, break_on_hyphens=False).replace(_HOLD, " = ")


def arguments_of(entry: Entry) -> str:
    """Write an entry's arguments with their defaults; one without a default is needed."""
    shown = [
        f"{name} (needed)" if parameter.default is inspect.Parameter.empty else f"{name} = {_toml(parameter.default)}"
        for name, parameter in entry.parameters.items()
    ]
    return ", ".join(shown + ["..."] * entry.accepts_any)


def _toml(value: object) -> str:
    """Write a default as a suite would: None as unset, tuples as lists."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _width() -> int:
    import shutil

    return min(100, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 100
