"""Strategies are points and paths of the triangle, built in, in a suite or in a file of one's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.registry import STRATEGIES
from bench.suite.strategies import read_strategies
from bench.transfer.strategy import Phase, Strategy


def expand(*entries, depth=4):
    problems = []
    found = read_strategies(entries, depth, problems)
    assert problems == []
    return found


def points(*entries, depth=4):
    return {(s.name, s.transfer, s.frozen) for s in expand(*entries, depth=depth)}


@pytest.mark.parametrize("depth", [1, 2, 4, 7])
def test_families_cover_the_points_that_they_are_named_for(depth):
    every = range(1, depth + 1)
    assert points("feature-extraction", depth=depth) == {("scratch", 0, 0), ("feature-extraction", depth, depth)}
    assert points("fine-tune", depth=depth) - {("scratch", 0, 0)} == {("fine-tune", depth, k) for k in range(depth)}
    assert points("layer-transfer", depth=depth) - {("scratch", 0, 0)} == {("layer-transfer", k, k) for k in every}
    tuned = points("layer-transfer-tuned", depth=depth) - {("scratch", 0, 0)}
    assert tuned == {("layer-transfer-tuned", k, 0) for k in every}
    assert len(points("triangle", depth=depth)) == (depth + 1) * (depth + 2) // 2


def test_two_names_for_one_point_give_one_trial_under_the_first_name():
    named = points("feature-extraction", "fine-tune", "layer-transfer", "layer-transfer-tuned")
    assert ("feature-extraction", 4, 4) in named
    assert ("layer-transfer", 4, 4) not in named
    assert ("fine-tune", 4, 0) in named
    assert ("layer-transfer-tuned", 4, 0) not in named


def test_scratch_is_always_there_and_first():
    assert expand("feature-extraction")[0].name == "scratch"
    assert [s.name for s in expand("feature-extraction", "scratch")].count("scratch") == 1


def test_paths():
    (_, probe) = expand("linear-probe-fine-tune")
    assert [(p.freeze, p.share) for p in probe.path] == [(4, 0.5), (0, 0.5)]
    (_, gradual) = expand("gradual-unfreezing")
    assert [p.freeze for p in gradual.path] == [4, 3, 2, 1, 0]
    (_, zero) = expand("zero-shot")
    assert zero.keep_head
    assert not zero.trained
    assert zero.frozen == 4


def test_a_strategy_written_in_the_suite():
    (_, half) = expand({"name": "half", "transfer": "all", "freeze": 2, "copied_lr": 0.5})
    assert (half.transfer, half.frozen, half.copied_lr) == (4, 2, 0.5)
    (_, path) = expand({"name": "p", "transfer": 3, "path": [{"freeze": 3, "share": 0.2}, {"freeze": 0, "lr": 0.1}]})
    assert path.path == (Phase(3, 0.2), Phase(0, 1.0, 0.1))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("finetune", 'did you mean "fine-tune"'),
        ({"strategy": "fine-tune", "depth": [1]}, 'did you mean "depths"'),
        ({"strategy": "fine-tune", "depths": [9]}, "depth 9 is not within 0 to 3"),
        ({"name": "x", "transfer": 2, "freeze": 3}, "not within 0 <= f <= n = 2"),
        ({"name": "x", "transfer": 9}, "transfer = 9 is not within 0 to 4"),
        ({"name": "x", "transfer": 2, "frieze": 1}, 'did you mean "freeze"'),
        ({"transfer": 2}, 'needs "name"'),
        ({"name": "x", "transfer": 4, "path": []}, "something must be trained"),
    ],
)
def test_what_is_wrong_with_a_strategy_is_said_with_its_place(entry, message):
    problems = []
    read_strategies(("feature-extraction", entry), 4, problems)
    assert len(problems) == 1
    assert problems[0].place == "strategies[1]"
    assert message in problems[0].message


def test_a_name_for_two_different_trials_is_refused():
    problems = []
    read_strategies(({"name": "fine-tune", "transfer": "all", "copied_lr": 1.0}, "fine-tune"), 4, problems)
    assert "two different strategies" in problems[0].message


def test_a_strategy_of_ones_own_in_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import bench\n\n"
        "@bench.strategy('every-other')\n"
        "def every_other(depth):\n"
        "    '''Freeze every second depth.'''\n"
        "    for k in range(0, depth + 1, 2):\n"
        "        yield bench.point('every-other', depth, k)\n"
    )
    from bench.registry import load_plugin

    load_plugin(file)
    assert points("every-other") == {("scratch", 0, 0)} | {("every-other", 4, k) for k in (0, 2, 4)}
    STRATEGIES._entries.pop("every-other")


@given(st.integers(0, 5), st.integers(0, 5), st.floats(0.1, 3))
def test_the_name_is_no_part_of_the_identity(n, f, lr):
    if f > n:
        with pytest.raises(BenchError, match="not within"):
            Strategy("a", n, (Phase(f, 1.0, lr),))
        return
    a, b = (Strategy(name, n, (Phase(f, 1.0, lr),)) for name in "ab")
    assert a.identity() == b.identity()
