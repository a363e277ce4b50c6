"""The contract of weightings: the built-in ones keep it, each way of breaking it is said."""

from __future__ import annotations

import pytest
import torch

from bench.registry import WEIGHTINGS, Entry
from bench.training.contract import check_weighting
from bench.weighting import ByRule, Weighting, weighting


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_the_built_in_weightings_keep_it(name):
    assert check_weighting(WEIGHTINGS.get(name)) == []


@pytest.mark.parametrize("arguments", [{"unrolled": 2, "inner": "adam"}, {"engine": "higher", "head": "shared"}])
def test_so_they_do_with_arguments(arguments):
    assert check_weighting(WEIGHTINGS.get("per-example"), arguments) == []


def test_mistakes_in_arguments_are_said():
    assert "did you mean" in check_weighting(WEIGHTINGS.get("l2rw"), {"head": "shred"})[0]
    assert 'no argument "hed"' in check_weighting(WEIGHTINGS.get("l2rw"), {"hed": "own"})[0]


class Broken(ByRule):
    way = ""

    def raw(self, step, losses):
        return getattr(self, self.way)(step, losses)

    def negative(self, step, losses):
        return torch.cat([-torch.ones_like(losses[:, :1]), torch.ones_like(losses[:, 1:])], 1)

    def unseeded(self, step, losses):
        return torch.rand_like(losses)

    def mixed(self, step, losses):
        return losses / (1 + losses[1:].mean()) ** torch.arange(losses.shape[1])

    def meddling(self, step, losses):
        next(step.network.parameters()).data.add_(1.0)
        return torch.ones_like(losses)

    def raising(self, step, losses):
        raise ZeroDivisionError("by zero")

    def wide(self, step, losses):
        return losses.repeat(1, 2)


class Unnormalised(Weighting):
    def __call__(self, step):
        losses = step.losses()
        return losses.detach(), losses


WAYS = {
    "negative": "a weight is negative",
    "unseeded": "the same training twice gives different weights",
    "mixed": "the weights of one lane change with the examples of another",
    "meddling": "leaves the network's parameters changed",
    "raising": "ZeroDivisionError: by zero",
    "wide": "returns weights of shape (2, 32), not (lanes, batch) = (2, 16)",
}


@pytest.fixture
def registered():
    names = []

    def register(name, make) -> Entry:
        names.append(name)
        weighting(name)(make)
        return WEIGHTINGS.get(name)

    yield register
    for name in names:
        del WEIGHTINGS._entries[name]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_breaking_it_is_said(way, registered):
    def make(facts):
        found = Broken(facts)
        found.way = way
        return found

    assert WAYS[way] in "; ".join(check_weighting(registered("broken", make)))


def test_graphs_are_where_they_belong(registered):
    said = "; ".join(check_weighting(registered("unnormalised", lambda facts: Unnormalised(facts))))
    for part in ("losses have no graph", "weights have a graph", "do not add up to 1"):
        assert part in said
