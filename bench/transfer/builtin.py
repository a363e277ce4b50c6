"""The built-in strategies: families of points and paths over the triangle 0 <= f <= n <= L."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.errors import BenchError
from bench.transfer.strategy import Phase, Strategy, point, strategy
from bench.triangle import JOINT


def _depths(name: str, asked: Sequence[int] | None, first: int, last: int) -> Iterable[int]:
    """Return the depths to expand: every one from `first` to `last` unless some are asked for."""
    if asked is None:
        return range(first, last + 1)
    for k in asked:
        if not isinstance(k, int) or isinstance(k, bool) or not first <= k <= last:
            raise BenchError(f'strategy "{name}": depth {k!r} is not within {first} to {last}')
    return asked


@strategy("scratch")
def scratch(depth: int) -> Iterator[Strategy]:
    """Train everything from a random start: the point (0, 0)."""
    yield point("scratch", 0, 0)


@strategy("scratch-long")
def scratch_long(depth: int, *, steps: float = 4.0) -> Iterator[Strategy]:
    """Scratch with a larger step budget, for the gap to the best-tuned scratch."""
    yield point("scratch-long", 0, 0, steps=steps)


@strategy("joint")
def joint(depth: int, *, steps: float = 4.0) -> Iterator[Strategy]:
    """Train on source and target together from scratch, a head each (the S+T baseline): the point (0, 0).

    Each step adds the (weighted) loss of a batch of source examples to the target's own. Its step budget
    is that of "scratch-long", since training the source model is no part of it.
    """
    yield point("joint", 0, 0, steps=steps, how=JOINT)


@strategy("zero-shot")
def zero_shot(depth: int) -> Iterator[Strategy]:
    """Use the source model as it is, head included: (L, L), nothing trained."""
    yield Strategy("zero-shot", depth, (), keep_head=True)


@strategy("feature-extraction")
def feature_extraction(depth: int) -> Iterator[Strategy]:
    """Train a new head on fixed features: the point (L, L)."""
    yield point("feature-extraction", depth, depth)


@strategy("fine-tune")
def fine_tune(depth: int, *, depths: Sequence[int] | None = None, copied_lr: float | None = None) -> Iterator[Strategy]:
    """Copy every block and freeze the first k: (L, k), for k from 0 to L - 1."""
    for k in _depths("fine-tune", depths, 0, depth - 1):
        yield point("fine-tune", depth, k, copied_lr=copied_lr)


@strategy("layer-transfer")
def layer_transfer(depth: int, *, depths: Sequence[int] | None = None) -> Iterator[Strategy]:
    """Copy and freeze the first k blocks, the rest new: (k, k), AnB of Yosinski et al. (2014)."""
    for k in _depths("layer-transfer", depths, 1, depth):
        yield point("layer-transfer", k, k)


@strategy("layer-transfer-tuned")
def layer_transfer_tuned(
    depth: int, *, depths: Sequence[int] | None = None, copied_lr: float | None = None
) -> Iterator[Strategy]:
    """Copy the first k blocks and train all: (k, 0), AnB+ of Yosinski et al. (2014)."""
    for k in _depths("layer-transfer-tuned", depths, 1, depth):
        yield point("layer-transfer-tuned", k, 0, copied_lr=copied_lr)


@strategy("triangle")
def triangle(depth: int, *, copied_lr: float | None = None) -> Iterator[Strategy]:
    """Every point of the triangle but scratch: (n, f) for 1 <= n <= L, 0 <= f <= n."""
    for n in range(1, depth + 1):
        for f in range(n + 1):
            yield point("triangle", n, f, copied_lr=copied_lr)


@strategy("linear-probe-fine-tune")
def linear_probe_fine_tune(
    depth: int, *, probe: float = 0.5, lr: float = 1.0, copied_lr: float | None = None
) -> Iterator[Strategy]:
    """Train the head on fixed features, then everything: (L, L) -> (L, 0), Kumar et al. (ICLR 2022).

    `probe` is the share of the steps that the linear probe gets, `lr` multiplies the rate afterwards.
    """
    if not 0 < probe < 1:
        raise BenchError(f'strategy "linear-probe-fine-tune": probe {probe} is not within 0 to 1')
    path = (Phase(depth, probe), Phase(0, 1 - probe, lr))
    yield Strategy("linear-probe-fine-tune", depth, path, copied_lr=copied_lr)


@strategy("gradual-unfreezing")
def gradual_unfreezing(depth: int, *, copied_lr: float | None = None) -> Iterator[Strategy]:
    """Unfreeze one block after the other from the top: (L, L) -> ... -> (L, 0), Howard & Ruder (2018)."""
    path = tuple(Phase(f) for f in range(depth, -1, -1))
    yield Strategy("gradual-unfreezing", depth, path, copied_lr=copied_lr)
