"""Weightings that are learned from the target's labelled examples while the source is trained on.

All of them ask how the target's loss would change if an example of the batch weighed more: they look one
step (or k) ahead, through the blocks that source and target share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, nearest
from bench.weighting.controls import share
from bench.weighting.declare import weighting

if TYPE_CHECKING:
    from bench.weighting.base import Facts, Weighting

ENGINES = ("forward", "higher")
HEADS = ("own", "shared")
INNER = ("sgd", "adam")


def _one_of(name: str, argument: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        known = " or ".join(f'"{word}"' for word in allowed)
        raise BenchError(f'weighting "{name}": {argument} = {value!r} is not {known}{nearest(str(value), allowed)}')


def _whole(name: str, argument: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BenchError(f'weighting "{name}": {argument} = {value!r} is not a whole number from {least}')


def _check_meta(name: str, head: object, meta_batch: object, meta_share: object) -> None:
    _one_of(name, "head", head, HEADS)
    share(name, "meta_share", meta_share)
    if meta_batch is not None:
        _whole(name, "meta_batch", meta_batch, 2)


def _check_l2rw(
    engine: object = "forward", head: object = "own", meta_batch: object = None, meta_share: object = 1.0
) -> None:
    _one_of("l2rw", "engine", engine, ENGINES)
    _check_meta("l2rw", head, meta_batch, meta_share)


@weighting("l2rw", learns_from="labels", check=_check_l2rw)
def l2rw(
    facts: Facts, *, engine: str = "forward", head: str = "own", meta_batch: int | None = None, meta_share: float = 1.0
) -> Weighting:
    """Weight by how much a step on an example alone would lower the target's loss: Ren et al. (ICML 2018), algorithm 1.

    `engine` is "forward" (exact, without a graph through the look-ahead) or "higher"; `head` is "own" (target
    examples are seen through a head of their own) or "shared" (the source's, which must know their
    classes); `meta_batch` target examples are seen each step (the recipe's batch size by default), of the
    share `meta_share` of the trial's training examples.
    """
    from bench.weighting.lookahead import L2RW

    return L2RW(facts, engine)


def _check_learned(name: str, given: dict[str, Any]) -> None:
    _check_meta(name, given["head"], given["meta_batch"], given["meta_share"])
    share(name, "rate", given["rate"], float("inf"))
    _one_of(name, "engine", given["engine"], ("auto", *ENGINES))
    _one_of(name, "inner", given["inner"], INNER)
    _whole(name, "unrolled", given["unrolled"])
    momentum = given["momentum"]
    if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        raise BenchError(f'weighting "{name}": momentum = {momentum!r} is not within 0 <= momentum < 1')
    plain = given["inner"] == "sgd" and not momentum and given["unrolled"] == 1
    if given["engine"] == "forward" and not plain:
        raise BenchError(
            f'weighting "{name}": engine = "forward" looks one plain gradient step ahead; '
            'engine = "higher" serves more steps, momentum and Adam'
        )


_DEFAULTS = {
    "engine": "auto", "unrolled": 1, "inner": "sgd", "momentum": 0.0, "head": "own", "meta_batch": None,
    "meta_share": 1.0,
}  # fmt: skip


def _checker(name: str, **own: Any) -> Any:
    def check(**arguments: Any) -> None:
        _check_learned(name, {**_DEFAULTS, **own, **arguments})

    return check


def _check_mw_net(**arguments: Any) -> None:
    given = {**_DEFAULTS, "rate": 1e-3, "hidden": 100, **arguments}
    _check_learned("mw-net", given)
    _whole("mw-net", "hidden", given["hidden"])


@weighting("mw-net", learns_from="labels", check=_check_mw_net)
def mw_net(
    facts: Facts, *, hidden: int = 100, rate: float = 1e-3, engine: str = "auto", head: str = "own",
    meta_batch: int | None = None, meta_share: float = 1.0,
) -> Weighting:  # fmt: skip
    """Weight by a small network's function of the loss: Shu et al. (NeurIPS 2019), equations 3 to 5.

    The network has one layer of `hidden` units and a sigmoid, and is trained one step ahead by Adam at `rate`.
    The other arguments are those of "l2rw"; engine "auto" is "forward".
    """
    from bench.weighting.lookahead import Learned, LossNetwork

    return Learned(facts, LossNetwork(facts, hidden, rate), engine)


def _register_tables() -> None:
    """Register the three weightings that keep a number for every example, class or domain."""

    def add(name: str, of_what: str, summary: str, judges: str | None) -> None:
        @weighting(name, learns_from="labels", judges=judges, check=_checker(name, rate=_TABLE_RATE))
        def table(
            facts: Facts, *, rate: float = _TABLE_RATE, unrolled: int = 1, inner: str = "sgd", momentum: float = 0.0,
            engine: str = "auto", head: str = "own", meta_batch: int | None = None, meta_share: float = 1.0,
        ) -> Weighting:  # fmt: skip
            from bench.weighting.lookahead import Kept, Learned

            return Learned(facts, Kept(facts, of_what, rate), engine, unrolled, inner, momentum)

        table.__doc__ = summary

    add("per-example", "examples", _PER_EXAMPLE, None)
    add("per-class", "classes", _PER_CLASS, "classes")
    add("per-domain", "domains", _PER_DOMAIN, "domains")


_TABLE_RATE = 0.05
_REST = """

Weights lie between 0 and 1, start at 0.1, and take gradient steps of size `rate` (relative to the largest gradients so
far), looking `unrolled` steps of the `inner` optimiser ahead ("sgd", with `momentum`, or "adam"), which starts anew
each time: the hyper-cleaning of Franceschi et al. (ICML 2017, section 5.1), on line. Engine "auto" is "forward" for
one plain step and "higher" for all else. The other arguments are those of "l2rw".
"""
_PER_EXAMPLE = f"Keep a weight for every source example, and learn it.{_REST}"
_PER_CLASS = f"Keep a weight for every source class, and learn it.{_REST}"
_PER_DOMAIN = f"Keep a weight for each of several mixed sources, and learn it.{_REST}"
_register_tables()
