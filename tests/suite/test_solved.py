"""Which heads are solved, at which strengths, and what of that is part of whose key."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.heads.base import head_of
from bench.identity import digest
from bench.suite import Plan, load_suite
from bench.suite.model import HANDED_IN_RECIPE, Recipe, Suite
from bench.suite.solved import Probe, probe_of
from bench.transfer.strategy import Phase, Strategy, point
from bench.trial import Card

LABELS = "single-label"
PROBED = Strategy("probed", 3, (Phase(3), Phase(3), Phase(1)))


def keys(**recipe):
    """The keys of a small suite's trials by strategy, where every block of one is frozen or not."""
    suite = load_suite({
        "backbones": ["cnn"], "strategies": ["feature-extraction", "linear-probe-fine-tune", "fine-tune", "zero-shot"],
        "target_sizes": [20], "seeds": 1, "pairs": [{"target": "digits", "source": "printed-digits"}],
        "recipe": {"learning_rates": [0.01, 0.03, 0.1], **recipe},
    })  # fmt: skip
    bare = Plan(suite)
    cards = {
        spec.digest: Card(name, name, 1, spec.classes(), (1, 8, 8), 500, 90, (50,) * 10)
        for name, spec in bare.tasks.items()
    }
    plan = Plan(suite, cards)
    return {(s := plan.strategy(trial)).name + f" {s.frozen}": trial.key for trial in plan.trials()}


HEADS = {"feature-extraction 4", "linear-probe-fine-tune 0"}


def changed(one, other):
    assert set(one) == set(other)
    return {name for name in one if one[name] != other[name]}


def test_how_heads_are_solved_is_part_of_the_keys_of_trials_that_have_one_alone():
    solved, stepped = keys(), keys(head="stepped")
    assert changed(solved, stepped) == HEADS
    assert changed(solved, keys(head_strengths=[1, 0.01, 0.0001])) == set()  # the default, said
    assert changed(solved, keys(head_strengths=[10, 0.01, 0.0001])) == {
        "feature-extraction 4"
    }  # the middle is the same
    assert changed(solved, keys(head_strengths=[1, 0.1, 0.0001])) == HEADS
    assert changed(stepped, keys(head="stepped", head_strengths=[10, 1, 0.1])) == set()


def test_keys_of_stepped_heads_are_those_that_they_were_before_heads_were_solved():
    assert digest(Recipe(head="stepped").identity()) == digest(Recipe().identity()) == "c32f8995f3f700a09820"


def test_augmented_features_differ_each_step_and_are_stepped():
    assert changed(keys(augment=["flip"]), keys(augment=["flip"], head="stepped")) == set()


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (point("a", 3, 3), Probe(1, (1.0, 0.01, 0.0001))),
        (Strategy("b", 3, (Phase(3), Phase(3))), Probe(2, (1.0, 0.01, 0.0001))),
        (PROBED, Probe(2, (0.01,))),
        (Strategy("c", 3, (Phase(0), Phase(3))), Probe()),  # the frozen blocks are no longer the source's
        (point("d", 3, 2), Probe()),
        (point("scratch", 0, 0), Probe()),
        (Strategy("zero-shot", 3, keep_head=True), Probe()),
    ],
)
def test_the_first_phases_with_every_block_frozen_are_solved(strategy, expected):
    found = probe_of(strategy, Recipe(), 3, LABELS)
    assert found.phases == expected.phases
    assert found.strengths == pytest.approx(expected.strengths)
    assert probe_of(strategy, Recipe(head="stepped"), 3, LABELS) == Probe()


def test_heads_that_are_not_convex_are_stepped(monkeypatch):
    monkeypatch.setattr(type(head_of(LABELS)), "convex", False)
    assert probe_of(point("a", 3, 3), Recipe(), 3, LABELS) == Probe()


@pytest.mark.parametrize("rates", [1, 2, 3, 4, 5, 9])
def test_there_are_as_many_strengths_as_learning_rates_evenly_about_the_same_middle(rates):
    recipe = Recipe(learning_rates=tuple(0.01 * (i + 1) for i in range(rates)))
    assert len(recipe.strengths) == rates
    assert list(recipe.strengths) == sorted(recipe.strengths, reverse=True)
    assert recipe.strengths[0] * recipe.strengths[-1] == pytest.approx(1e-4, rel=1e-4)
    ratios = {round(a / b, 2) for a, b in zip(recipe.strengths, recipe.strengths[1:], strict=False)}
    assert len(ratios) <= 1
    assert probe_of(PROBED, recipe, 3, LABELS).strengths == (pytest.approx(0.01, rel=1e-4),)


def test_strengths_are_said_in_any_order_and_as_many_as_rates():
    assert Recipe(head_strengths=(0.1, 10.0, 1.0)).strengths == (10.0, 1.0, 0.1)
    with pytest.raises(BenchError, match="2 head_strengths beside 3 learning_rates"):
        keys(head_strengths=[1, 0.1])
    with pytest.raises(BenchError, match="head_strengths"):
        keys(head_strengths=[1, 0.1, 0])
    with pytest.raises(BenchError, match=r"recipe\.head: must be 'solved' or 'stepped'"):
        keys(head="guessed")


def test_weights_that_are_handed_in_have_five_rates_and_so_five_strengths():
    assert len(Recipe(**HANDED_IN_RECIPE).strengths) == 5


def test_run_folders_that_are_older_than_solved_heads_have_stepped_ones(tmp_path):
    suite = load_suite({"target_sizes": [20], "pairs": [{"target": "digits", "source": "noise"}]})
    values = suite.to_run(tmp_path)
    assert Suite.from_run(values, tmp_path).recipe.head == "solved"
    del values["recipe"]["head"], values["recipe"]["head_strengths"]
    assert Suite.from_run(values, tmp_path).recipe.head == "stepped"


def test_the_line_of_the_recipe_says_what_heads_are():
    assert Recipe().summary.endswith("heads on frozen blocks solved at L2 strengths 1, 0.01, 0.0001")
    assert "head" not in Recipe(head="stepped").summary
    assert "head" not in Recipe(augment=("flip",)).summary
