"""What a suite's `adapt` and `method` mean: something registered, with arguments of its own."""

from __future__ import annotations

from typing import Any

from bench.errors import BenchError
from bench.identity import canonical
from bench.registry import ADAPTATIONS, METHODS, Entry, Registry
from bench.suite.specs import read_entry
from bench.triangle import FULL, PLAIN, Adapt, How


def read_adaptation(value: Any) -> Adapt:
    """Read ``adapt = "norm"`` or ``adapt = { name = "lora", rank = 4 }``.

    Raises
    ------
    BenchError
        For an unknown name, with the nearest match, and for arguments that it does not take.
    """
    entry, given = _read(ADAPTATIONS, "adapt", value, '"norm" or { name = "lora", rank = 4 }')
    return FULL if entry.name == FULL.name else Adapt(entry.name, given, entry.version, entry.meta["lanes"])


def read_method(value: Any, key: str = "method") -> How:
    """Read ``method = "l2-sp"`` or ``method = { name = "l2-sp", alpha = 0.01 }``.

    Raises
    ------
    BenchError
        For an unknown name, with the nearest match, and for arguments that it does not take.
    """
    entry, given = _read(METHODS, key, value, '"l2-sp" or { name = "l2-sp", alpha = 0.01 }')
    return PLAIN if entry.name == PLAIN.name else How(entry.name, given, entry.version, **entry.meta)


def _read(registry: Registry, key: str, value: Any, forms: str) -> tuple[Entry, str]:
    """Return what is named, and its arguments that are not at their defaults as JSON."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        what = f"{'an' if registry.kind[0] in 'aeiou' else 'a'} {registry.kind}"
        raise BenchError(f"{key} = {value!r} does not name {what}: write {forms}")
    arguments = {name: value for name, value in table.items() if name != "name"}
    wrong: list[str] = []
    entry = read_entry(registry, table["name"], arguments, wrong)
    if entry is None:
        raise BenchError("; ".join(wrong))
    with entry.blamed(mistakes=(Exception,)):
        entry.function(**arguments)
    defaults = {name: parameter.default for name, parameter in entry.parameters.items()}
    said = {name: arguments[name] for name in sorted(arguments) if arguments[name] != defaults.get(name, ...)}
    return entry, canonical(said)
