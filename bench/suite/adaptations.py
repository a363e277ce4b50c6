"""What a suite's `adapt` means: a registered adaptation, with arguments of its own."""

from __future__ import annotations

from typing import Any

from bench.errors import BenchError
from bench.identity import canonical
from bench.registry import ADAPTATIONS
from bench.suite.specs import unstorable
from bench.triangle import FULL, Adapt


def read_adaptation(value: Any) -> Adapt:
    """Read ``adapt = "norm"`` or ``adapt = { name = "lora", rank = 4 }``.

    Raises
    ------
    BenchError
        For an unknown name, with the nearest match, and for arguments that it does not take.
    """
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        form = 'adapt = "norm" or adapt = { name = "lora", rank = 4 }'
        raise BenchError(f"adapt = {value!r} does not say which adaptation: {form}")
    if table == {"name": FULL.name}:
        return FULL
    entry = ADAPTATIONS.get(table["name"])
    arguments = {name: value for name, value in table.items() if name != "name"}
    wrong = [*entry.problems(arguments), *unstorable(arguments)]
    if wrong:
        raise BenchError("; ".join(wrong))
    try:
        entry.function(**arguments)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(entry.raised(error)) from error
    defaults = {name: parameter.default for name, parameter in entry.parameters.items()}
    said = {name: arguments[name] for name in sorted(arguments) if arguments[name] != defaults.get(name, ...)}
    return Adapt(entry.name, canonical(said), entry.version, entry.meta["lanes"])
