import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, DataError
from bench.registry import CHANGES, TASKS, changed_classes
from bench.tasks.base import Task
from bench.tasks.contract import check_task

quick = settings(deadline=None, max_examples=20)


def images(n, value, shape=(1, 6, 6), n_classes=4, dtype=np.uint8, prefix="c", **parts):
    """Images of one brightness a class, so that each can be followed home."""
    y = np.arange(n) % n_classes
    x = np.broadcast_to((value + y)[:, None, None, None], (n, *shape))
    x = x.astype(np.uint8) if dtype == np.uint8 else (x / 255).astype(dtype)
    classes = [f"{prefix}{i}" for i in range(n_classes)]
    return Task(x, y, classes, x[:8], y[:8], name=prefix, **parts)


def mix(host, seed=0, **arguments):
    return CHANGES.get("mix").function(host, np.random.default_rng(seed), **arguments)


@quick
@given(share=st.floats(0.02, 0.7), labels=st.sampled_from(["append", "wrap"]), seed=st.integers(0, 2**31))
def test_the_share_is_hit_flagged_and_numbered(share, labels, seed):
    host, other = images(60, 10), images(200, 100, n_classes=6, prefix="d")
    after = mix(host, seed, task=other, share=share, labels=labels)
    foreign = after.x[:, 0, 0, 0] >= 100
    assert foreign.sum() == max(1, round(share / (1 - share) * 60))
    np.testing.assert_array_equal(after.harmful, foreign)
    np.testing.assert_array_equal(after.domains, foreign.astype(int))
    # Every image still has the label that its brightness says.
    own = after.x[~foreign, 0, 0, 0].astype(int) - 10
    np.testing.assert_array_equal(after.y[~foreign], own)
    theirs = after.x[foreign, 0, 0, 0].astype(int) - 100
    np.testing.assert_array_equal(after.y[foreign], theirs + 4 if labels == "append" else theirs % 4)
    assert sorted(own) == sorted(host.y)
    np.testing.assert_array_equal(after.x_test, host.x_test)
    np.testing.assert_array_equal(after.y_test, host.y_test)


def test_appended_classes_come_behind_and_stay_distinct():
    host = images(20, 10)
    other = images(40, 100, n_classes=3)
    once = mix(host, task=other)
    assert once.classes == ("c0", "c1", "c2", "c3", "c0 (mixed)", "c1 (mixed)", "c2 (mixed)")
    twice = mix(once, task=other, share=0.2)
    assert twice.classes[7:] == ("c0 (mixed) (mixed)", "c1 (mixed) (mixed)", "c2 (mixed) (mixed)")
    assert mix(host, task=other, labels="wrap").classes == host.classes
    for labels in ("append", "wrap"):
        arguments = {"task": other.classes, "labels": labels}
        assert changed_classes("mix", host.classes, arguments) == mix(host, task=other, labels=labels).classes


def test_flags_and_domains_of_both_are_kept():
    host = images(20, 10, harmful=np.arange(20) < 5, domains=np.arange(20) % 2)
    other = images(40, 100, domains=np.arange(40) % 3)
    after = mix(host, task=other, share=0.5)
    own = after.x[:, 0, 0, 0] < 100
    assert after.harmful[own].sum() == 5
    assert after.harmful[~own].all()
    assert sorted(set(after.domains[own])) == [0, 1]
    assert sorted(set(after.domains[~own])) == [2, 3, 4]


def test_foreign_examples_are_shuffled_in():
    after = mix(images(100, 10), task=images(100, 100))
    first = after.harmful[:50].mean()
    assert 0.2 < first < 0.8


@pytest.mark.parametrize("ours", [np.uint8, np.float32])
@pytest.mark.parametrize("theirs", [np.uint8, np.float64])
def test_size_channels_and_type_are_fitted(ours, theirs):
    host = images(20, 10, dtype=ours)
    other = images(40, 100, shape=(3, 9, 12), dtype=theirs)
    after = mix(host, task=other, labels="wrap")
    assert after.x.dtype == host.x.dtype
    assert after.shape == host.shape
    levels = after.x[after.harmful].astype(float) * (1 if ours == np.uint8 else 255)
    expected = 100 + after.y[after.harmful][:, None, None, None]
    assert abs(levels - expected).max() < 0.51


def test_tables_mix_with_tables_of_the_same_columns():
    rng = np.random.default_rng(0)
    tables = [
        Task(rng.normal(size=(30, d)).astype(t), np.arange(30) % 2, "ab") for d, t in ((3, "f4"), (3, "f8"), (4, "f4"))
    ]
    after = mix(tables[0], task=tables[1])
    assert after.x.dtype == np.float32
    foreign = {tuple(row) for row in tables[1].x.astype(np.float32)}
    assert {tuple(row) for row in after.x[after.harmful]} <= foreign
    with pytest.raises(DataError, match=r"cannot be mixed into task.*same columns"):
        mix(tables[0], task=tables[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, "share must lie between 0 and 1"),
        ({"share": 1}, "share must lie between 0 and 1"),
        ({"share": 1.5}, "share must be a number from 0 to 1"),
        ({"labels": "warp"}, 'did you mean "wrap"'),
        ({"share": 0.8}, r"takes 80 of d, which has 40; the most is 0\.667"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(BenchError, match=message):
        mix(images(20, 10), task=images(40, 100, prefix="d"), **arguments)


def test_changes_compose_and_flags_survive_the_whole_chain():
    """Everything at once, on a real task: what is left is sound, repeatable, and flagged where it was touched."""

    def build():
        host = TASKS.get("printed-digits").function(None, n=200, n_test=60)
        other = TASKS.get("patches").function(None, n=200, n_test=40, channels=3, image_size=20)
        steps = [
            ("class_half", {"half": "first"}),
            ("label_noise", {"rate": 0.2}),
            ("mix", {"task": other, "share": 0.3, "labels": "wrap"}),
            ("rotation", {"degrees": 15}),
            ("pixel_permutation", {"share": 0.5}),
            ("input_noise", {"std": 0.05}),
            ("size_limit", {"examples": 100}),
            ("imbalance", {"ratio": 2}),
        ]
        for index, (name, arguments) in enumerate(steps):
            host = CHANGES.get(name).function(host, np.random.default_rng(index), **arguments)
        return host

    assert check_task(build) == []
    task = build()
    assert task.classes == tuple("01234")
    assert task.shape == (1, 16, 16)
    assert task.harmful[task.domains == 1].all()
    assert 0.1 < task.harmful[task.domains == 0].mean() < 0.3
    assert 0.15 < (task.domains == 1).mean() < 0.45
    assert len(task.y_test) == 30
