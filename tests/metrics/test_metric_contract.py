"""The contract of metrics: the built-in ones keep it, and each breach is said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.metrics.contract import check_metric
from bench.registry import METRICS, load_plugin


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    for name in METRICS.names():
        METRICS.get(name)
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))


@pytest.mark.parametrize("name", METRICS.names())
def test_built_in_metrics_keep_the_contract(name):
    assert check_metric(METRICS.get(name)) == []


class Share(bench.Metric):
    kinds = ("single-label",)
    bounded = True

    def score(self, truth):
        return float((truth.predicted == truth.targets).mean())


class Errors(Share):
    def score(self, truth):
        return float((truth.predicted != truth.targets).mean())


class First(Share):
    def score(self, truth):
        return float(truth.predicted[0] == truth.targets[0])


class Drawn(Share):
    calls = 0

    def score(self, truth):
        Drawn.calls += 1
        return 1 / Drawn.calls


class Percent(Share):
    def score(self, truth):
        return 100 * super().score(truth)


class Text(Share):
    def score(self, truth):
        return "good"


class Spoils(Share):
    def score(self, truth):
        truth.predicted[:] = truth.targets
        return 1.0


class Quiet(Share):
    def score(self, truth):
        return float("nan") if truth.targets.max() == 0 else super().score(truth)


class Loud(Share):
    def undefined(self, targets, classes):
        return "never"


class Whole(Share):
    def per_class(self, truth):
        return np.array([1.0])


class Broken(Share):
    def score(self, truth):
        return truth.no_such_thing


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Errors, "more must be better"),
        (First, "depends on the order of the examples"),
        (Drawn, "two calls give"),
        (Percent, "bounded scores lie within -1 to 1"),
        (Text, "score must return a number, but returned str"),
        (Spoils, "changes the arrays"),
        (Quiet, "where it does not say that it is undefined"),
        (Loud, "says that it is undefined (never), but gives"),
        (Whole, "per_class must return 3 values"),
        (Broken, "has no attribute 'no_such_thing'"),
    ],
)
def test_each_breach_is_said(kind, said):
    bench.metric("mine")(kind)
    found = check_metric(METRICS.get("mine"))
    assert any(said in problem for problem in found), found


def metric_class(**parts) -> type:
    return type("Mine", (bench.Metric,), {"kinds": ("single-label",), "bounded": True, "score": Share.score, **parts})


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("mine", dict, "decorate a subclass of bench.Metric"),
        ("mine", metric_class(kinds=()), "kinds must be a tuple of kinds of task"),
        ("mine", metric_class(bounded=None), "bounded must be True"),
        ("mine", metric_class(bounded=False), "do not fit: it must be \"nats\", \"\" for the unit of the target"),
        ("mine", metric_class(unit="nats"), 'do not fit: it must be "points"'),
        ("My Own", metric_class(), "small letters, digits and hyphens"),
        ("loss", metric_class(), 'its column would be "test_loss", which is another\'s'),
        ("accuracy", metric_class(), 'is already taken|its column would be "test_accuracy"'),
        ("mine", type("Mine", (bench.Metric,), {"kinds": ("a",)}), r"Mine needs a method score\(truth\)"),
    ],
)  # fmt: skip
def test_what_is_no_metric_is_refused_where_it_is_declared(name, kind, said):
    with pytest.raises(bench.BenchError, match=said):
        bench.metric(name)(kind)


def test_the_guide_s_own_metric_keeps_its_contract(tmp_path):
    guide = (Path(bench.__file__).parent / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(import numpy as np\n\nimport bench\n\n\n@bench.metric.*?)```", guide, re.DOTALL)
    (tmp_path / "mine.py").write_text(text)
    load_plugin(tmp_path / "mine.py")
    assert check_metric(METRICS.get("worst-recall")) == []
