"""The judge: what torch's outputs score by each metric, and what chooses a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import bench
from bench.errors import BenchError
from bench.metrics.base import Truth, of_kind
from bench.registry import METRICS
from bench.training.fit import Checkpoint
from bench.training.judge import MANY, Judge, Look


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    for name in METRICS.names():
        METRICS.get(name)
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))


def outputs(kind: str, lanes: int = 3, n: int = 40, k: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Random outputs of several models, and one test set for all of them."""
    generator = torch.Generator().manual_seed(0)
    if kind == "single-label":
        y = torch.randint(0, k, (n,), generator=generator)
    elif kind == "multi-label":
        y = torch.rand(n, k, generator=generator) < 0.4
    else:
        y = torch.randn(n, k, generator=generator)
    return torch.randn(lanes, n, k, generator=generator), y.expand(lanes, *y.shape)


@pytest.mark.parametrize("metric", [None, "accuracy"])
def test_accuracy_and_loss_are_torch_s_own_to_the_bit(metric):
    found, y = outputs("single-label")
    looks = Judge.of("single-label", metric, "abc").look(found, y)
    for lane, look in enumerate(looks):
        assert look.score == look.accuracy == float((found[lane].argmax(1) == y[lane]).float().mean())
    assert [look.score for look in Judge.of().test(found, y, (), range(3)).values()] == [k.score for k in looks]


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_a_test_set_is_judged_by_every_metric_of_its_kind(kind):
    found, y = outputs(kind)
    classes = ("a", "b", "c")
    logs = {
        "single-label": lambda x: x - np.log(np.exp(x).sum(axis=1, keepdims=True)),
        "multi-label": lambda x: -np.log1p(np.exp(-x)),
        "regression": lambda x: x,
    }[kind]
    for metric in of_kind(kind):
        looks = Judge.of(kind, metric, classes).test(found, y, (), [0, 2])
        assert list(looks) == [0, 2]
        for lane, look in looks.items():
            x = found[lane].double().numpy()
            said = {"single-label": x.argmax(1), "multi-label": x > 0, "regression": x}[kind]
            truth = Truth(y[lane].numpy(), said, logs(x), classes)
            assert list(look.scores) == of_kind(kind)
            for name, score in look.scores.items():
                assert score == pytest.approx(METRICS.get(name).function().score(truth), abs=1e-6)
            assert look.score == look.scores[metric]
            for name, values in look.by_class.items():
                expected = METRICS.get(name).function().per_class(truth)
                assert values == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(("kind", "metric"), [("single-label", "auroc"), ("multi-label", None), ("regression", "mae")])
def test_validation_is_looked_at_by_the_primary_metric_alone(kind, metric):
    found, y = outputs(kind)
    judge = Judge.of(kind, metric, "abc")
    looks, tested = judge.look(found, y), judge.test(found, y, (), range(3))
    assert [look.score for look in looks] == [look.score for look in tested.values()]
    assert [look.loss for look in looks] == [look.loss for look in tested.values()]
    assert all(not look.scores for look in looks)


def test_what_is_undefined_on_validation_leaves_the_choice_to_the_loss():
    found, y = outputs("single-label")
    looks = Judge.of("single-label", "auroc", "abc").look(found, torch.zeros_like(y))
    assert all(math.isnan(look.score) for look in looks)
    best = None
    for step, look in enumerate(looks):
        checkpoint = Checkpoint(look, 0.1, step, 1.0)
        best = checkpoint if checkpoint.beats(best) else best
    assert best.look.loss == min(look.loss for look in looks)
    tied = [Checkpoint(Look(0.8, loss, 0.5), 0.1, 1, 1.0) for loss in (0.3, 0.2)]
    assert tied[1].beats(tied[0])
    better = Checkpoint(Look(0.9, 5.0, 0.1), 0.1, 1, 1.0)
    assert better.beats(tied[1])  # the metric comes first, whatever accuracy and loss say


def test_of_many_classes_only_the_primary_metric_s_values_are_kept():
    found, y = outputs("single-label", k=MANY + 1)
    names = tuple(map(str, range(MANY + 1)))
    (look,) = Judge.of("single-label", "macro-f1", names).test(found, y, (), [0]).values()
    assert list(look.by_class) == ["macro-f1"]


def test_a_plug_in_that_raises_is_named_with_its_line():
    class Broken(bench.Metric):
        kinds = ("single-label",)
        bounded = True

        def score(self, truth):
            return truth.no_such_thing

    bench.metric("broken")(Broken)
    with pytest.raises(BenchError, match='metric "broken": AttributeError'):
        Judge.of("single-label", "broken", "abc").look(*outputs("single-label"))
