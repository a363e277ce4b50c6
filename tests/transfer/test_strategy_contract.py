"""The contract of strategies: the built-in ones keep it, and each breach is said."""

from __future__ import annotations

import itertools

import pytest

from bench.errors import BenchError
from bench.registry import STRATEGIES, Entry
from bench.transfer.contract import check_strategy
from bench.transfer.index import BUILTIN
from bench.triangle import point


def entry(function):
    return Entry("strategy", "mine", function)


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_strategies_keep_it(name):
    assert check_strategy(STRATEGIES.get(name)) == []


def test_it_may_refuse_some_depths_but_not_all():
    def deep(depth):
        if depth < 3:
            raise BenchError("needs three blocks")
        yield point("deep", depth, 1)

    def never(depth):
        raise BenchError("needs a hundred blocks")
        yield

    assert check_strategy(entry(deep)) == []
    assert check_strategy(entry(never)) == [
        "yields no point for any backbone of 1 to 6 blocks: needs a hundred blocks"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda depth: [], "yields no point"),
        (lambda depth: [(depth, 0)], "must yield bench.Strategy objects (see bench.point), but yielded tuple"),
        (lambda depth: [point("a", depth + 1, 0)], f'for 2 blocks: "a" copies {3} blocks, more than the backbone has'),
        (lambda depth: [point("a", depth, 0), point("b", depth, 0)], "one point is yielded twice"),
        (
            lambda depth: [point("a", depth, 0), point("a", depth, 0, copied_lr=0.5)],
            'for 3 blocks: two different strategies have the name "a", n = 3 and f = 0',
        ),
        (lambda depth: 1 / 0, "for 1 blocks: ZeroDivisionError"),
        (lambda depth, amount: [], 'needs the argument "amount"'),
    ],
)
def test_each_breach_is_said(function, said):
    assert any(said in problem for problem in check_strategy(entry(function)))


def test_points_must_be_the_same_each_time():
    calls = itertools.count()
    problems = check_strategy(entry(lambda depth: [point(f"run {next(calls)}", depth, 0)]))
    assert any("two calls yield different points" in problem for problem in problems)


def test_arguments_are_handed_on():
    def some(depth, *, k):
        yield point("some", k, 0)

    assert check_strategy(entry(some), {"k": 1}) == []
    assert check_strategy(entry(some), {"k": 7})
