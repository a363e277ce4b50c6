"""The contract of measures: the built-in ones keep it, and each breach is said."""

from __future__ import annotations

import itertools

import pytest

from bench.registry import MEASURES, Entry
from bench.similarity.base import Undefined
from bench.similarity.contract import check_measure
from bench.similarity.index import BUILTIN


def undefined(view):
    raise Undefined("never defined")


def reckless(view):
    return float(view.source.x.mean())


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_measures_keep_it(name):
    assert check_measure(MEASURES.get(name)) == []


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (undefined, "is undefined for two tasks"),
        (reckless, "for a source model without its data: AttributeError"),
        (lambda view: float("inf"), "returned inf; raise bench.similarity.base.Undefined"),
        (lambda view: view.target_features, "must return a number, but returned ndarray"),
        (lambda view, weight: 1.0, 'needs the argument "weight"'),
    ],
)
def test_each_breach_is_said(function, said):
    assert any(said in problem for problem in check_measure(Entry("measure", "mine", function)))


def test_two_calls_must_agree():
    calls = itertools.count()
    problems = check_measure(Entry("measure", "mine", lambda view: float(next(calls))))
    assert problems
    assert all("two calls give" in problem for problem in problems)
