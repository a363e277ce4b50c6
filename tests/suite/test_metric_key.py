"""A suite's `metric`: what may stand there, what rules it out before anything trains, and when it enters keys."""

from __future__ import annotations

import numpy as np
import pytest

import bench
from bench.errors import SuiteError
from bench.ledger.file import read_records
from bench.registry import METRICS
from bench.suite import Plan, load_suite
from bench.trial import Card

BASE = {"target_sizes": [20], "seeds": 1, "pairs": [{"target": "digits", "sources": ["noise"]}]}
SMALL = {
    "target_sizes": [20],
    "seeds": 1,
    "backbones": ["mlp"],
    "strategies": ["feature-extraction"],
    "measures": [],
    "recipe": {"steps": 2, "checkpoints": 1},
    "source_recipe": {"steps": 2},
    "pairs": [{"target": "ill", "source": "healthy"}],
}


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    for name in METRICS.names():
        METRICS.get(name)
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))


def tables(folder, test_labels) -> dict:
    rng = np.random.default_rng(0)
    for name, last in (("healthy", [0, 1] * 10), ("ill", test_labels)):
        parts = {"x": rng.random((60, 4)), "y": np.arange(60) % 2}
        np.savez(folder / f"{name}.npz", **parts, x_test=rng.random((len(last), 4)), y_test=np.array(last))
    return {name: {"npz": str(folder / f"{name}.npz")} for name in ("healthy", "ill")}


def test_an_unknown_metric_is_said_with_its_line_and_the_nearest(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'metric = "balanced-acuracy"\ntarget_sizes = [20]\n[[pairs]]\ntarget = "digits"\nsource = "noise"\n'
    )
    said = r'metric \(line 1\): unknown metric "balanced-acuracy"; did you mean "balanced-accuracy"\?'
    with pytest.raises(SuiteError, match=said):
        load_suite(file)


@pytest.mark.parametrize(("name", "unit"), [("mae", "in the unit of the target"), ("log-loss", "in nats")])
def test_an_unbounded_metric_needs_a_margin(name, unit):
    with pytest.raises(SuiteError, match=f'metric: "{name}" is not bounded.* say one, {unit}'):
        load_suite(BASE | {"metric": name})
    suite = load_suite(BASE | {"metric": name, "statistics": {"margin": 0.5}})
    assert suite.statistics.margin == 0.5
    assert load_suite(BASE | {"metric": "auroc"}).statistics.margin == 0.01


def test_a_metric_for_other_tasks_is_refused_before_anything_trains(tmp_path):
    suite = SMALL | {"metric": "r2", "statistics": {"margin": 0.1}, "tasks": tables(tmp_path, [0, 1] * 5)}
    said = '"r2" judges regression tasks, the target "ill" is single-label; for those: accuracy, balanced-accuracy'
    with pytest.raises(SuiteError, match=f"metric: {said}"):
        bench.run(suite, tmp_path / "out", jobs=0)


def test_a_test_set_on_which_the_metric_is_undefined_is_refused_before_anything_trains(tmp_path):
    suite = SMALL | {"metric": "auroc", "tasks": tables(tmp_path, [1] * 10)}
    said = 'metric: "auroc" is undefined on the test set of "ill": every test example is of class "1"; name another'
    with pytest.raises(SuiteError, match=said):
        bench.run(suite, tmp_path / "out", jobs=0)
    assert not any(record["kind"] == "source" for record in read_records(tmp_path / "out"))


def test_a_mistake_in_a_plug_in_names_its_place(tmp_path):
    class Broken(bench.Metric):
        kinds = ("single-label",)
        bounded = True

        def score(self, truth):
            return 1.0

        def undefined(self, targets, classes):
            return targets.no_such_thing

    bench.metric("broken")(Broken)
    suite = SMALL | {"metric": "broken", "tasks": tables(tmp_path, [0, 1] * 5)}
    with pytest.raises(SuiteError, match='metric "broken": AttributeError'):
        bench.run(suite, tmp_path / "out", jobs=0)


def plan_of(suite: dict) -> Plan:
    plan = Plan(load_suite(suite))
    cards = {
        spec.digest: Card(name, name * 3, 1, tuple("0123456789"), (1, 8, 8), 100, 50, (10,) * 10)
        for name, spec in plan.tasks.items()
    }
    return Plan(load_suite(suite), cards)


def keys(suite: dict) -> list[str]:
    return [trial.key for trial in plan_of(suite).trials()]


def test_a_metric_enters_keys_where_it_is_not_accuracy():
    plain = keys(BASE)
    assert all(plain)
    assert keys(BASE | {"metric": "accuracy"}) == plain
    other = keys(BASE | {"metric": "auroc"})
    assert not set(other) & set(plain)
    assert set(keys(BASE | {"metric": "macro-f1"})).isdisjoint(other)


def test_source_models_do_not_depend_on_it():
    models = [{m.key for m in plan_of(BASE | said).source_models()} for said in ({}, {"metric": "auroc"})]
    assert models[0] == models[1] != {""}


def numbers(folder) -> dict:
    rng = np.random.default_rng(0)
    for name in ("healthy", "ill"):
        x, x_test = rng.random((60, 4)), rng.random((20, 4))
        np.savez(folder / f"{name}.npz", x=x, y=x.sum(1), x_test=x_test, y_test=x_test.sum(1))
    return {name: {"npz": str(folder / f"{name}.npz"), "kind": "regression"} for name in ("healthy", "ill")}


def test_a_kind_s_own_metric_that_is_not_bounded_needs_a_margin_too(tmp_path):
    suite = SMALL | {"tasks": numbers(tmp_path)}
    said = 'target "ill": "r2" is not bounded, so that no margin of equivalence fits all data; say one, in R2'
    with pytest.raises(SuiteError, match=said):
        bench.run(suite, tmp_path / "out", jobs=0)
    assert not any(record["kind"] == "source" for record in read_records(tmp_path / "out"))


def test_a_metric_of_classes_is_refused_for_numbers(tmp_path):
    suite = SMALL | {"tasks": numbers(tmp_path), "metric": "auroc"}
    said = '"auroc" judges single-label and multi-label tasks, the target "ill" is regression; for those: r2, mae'
    with pytest.raises(SuiteError, match=f"metric: {said}"):
        bench.run(suite, tmp_path / "out", jobs=0)
