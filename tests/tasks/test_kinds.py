"""Tasks of every kind: what their targets may be, how they are split, changed, kept and read from files."""

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError, DataError
from bench.heads.base import head_of
from bench.registry import CHANGES, TASKS
from bench.suite import Plan
from bench.suite.load import load_suite
from bench.suite.model import Recipe
from bench.suite.ruled_out import ruled_out
from bench.tasks.base import Task
from bench.tasks.build import card_of, read_task, save_task
from bench.tasks.contract import check_task
from bench.tasks.fit import fit
from bench.tasks.standardise import standardise
from bench.training.protocol import Pool, pool_order, split_pool
from bench.trial import Card

RNG = np.random.default_rng(0)
N = 60
KINDS = ("single-label", "multi-label", "regression", "unlabelled")


def targets(kind, n=N, seed=1):
    """Return targets and their names."""
    rng = np.random.default_rng(seed)
    return {
        "single-label": (np.arange(n) % 3, ["a", "b", "c"]),
        "multi-label": (rng.random((n, 3)) < (0.6, 0.3, 0.1), ["a", "b", "c"]),
        "regression": (rng.normal(size=(n, 1)), ["price"]),
        "unlabelled": (None, []),
    }[kind]


def table(kind, n=N, **more):
    y, classes = targets(kind, n)
    return Task(np.random.default_rng(2).normal(size=(n, 4)), y, classes, kind=kind, name="mine", **more)


# What targets may be ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_of_each_kind_keeps_its_targets(kind):
    task = table(kind)
    assert len(task.y) == 42
    assert len(task.y_test) == 18
    assert {"multi-label": bool, "regression": float}.get(kind, np.int64) == task.y.dtype
    assert task.changed().fingerprint == task.fingerprint
    assert check_task(lambda: table(kind)) == []


@pytest.mark.parametrize(
    ("kind", "y", "classes", "message"),
    [
        ("regression", [0.5, np.nan, 1.0], ["price"], r"data set: example 1, 'price': nan is no finite number"),
        ("regression", [0.5, np.inf, 1.0], ["price"], "inf is no finite number"),
        ("regression", ["1", "2", "x"], ["price"], "must be numbers"),
        ("regression", np.zeros((3, 2)), ["price"], r"must have shape \(N, 1\)"),
        ("regression", [1.0, 2.0, 3.0], [], "needs the name of a value"),
        ("regression", [1.0, 1.0, 1.0, 1.0], ["price"], "every target is the same"),
        ("multi-label", [[0, 1], [2, 0], [1, 1]], ["a", "b"], "example 1, label 'a': 2 is neither 0 nor 1"),
        ("multi-label", [[0, 1], [np.nan, 0], [1, 1]], ["a", "b"], "example 1, label 'a': nan is neither"),
        ("multi-label", [0, 1, 1], ["a", "b"], r"must have shape \(N, 2\)"),
        ("multi-label", np.zeros((3, 0)), [], "needs the name of a label"),
        ("single-label", [0.0, np.nan, 1.0], ["a", "b"], "labels must be integers"),
        ("single-label", [0, 1, 2], ["a", "b"], r"label 2 is outside the 2 classes \(0 to 1\)"),
        ("single-label", None, ["a", "b"], 'has no targets.*kind = "unlabelled"'),
        ("regresion", [1.0, 2.0, 3.0], ["price"], 'unknown kind of task "regresion"; did you mean "regression"'),
    ],
)
def test_targets_that_cannot_be(kind, y, classes, message):
    x = RNG.normal(size=(4 if y is None else len(y), 2))
    with pytest.raises(BenchError, match=message):
        Task(x, y, classes, kind=kind)


def test_the_fingerprint_of_single_label_tasks_is_as_it_was():
    x, y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
    task = Task(x, y, ["a", "b"], x[:4] + 0.5, y[:4])
    assert task.fingerprint == "885a4d203b5cae03b37c"


def test_the_kind_is_part_of_the_fingerprint():
    x, y = np.arange(24.0).reshape(12, 2), np.eye(2)[np.arange(12) % 2]
    kinds = [Task(x, y, ["a", "b"], x[:4], y[:4], kind=kind).fingerprint for kind in ("multi-label", "regression")]
    assert kinds[0] != kinds[1]


def test_an_unlabelled_test_set_needs_no_targets():
    task = Task(RNG.normal(size=(8, 2)), None, [], x_test=RNG.normal(size=(3, 2)), kind="unlabelled")
    assert task.y_test.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="give both x_test and y_test"):
        Task(RNG.normal(size=(8, 2)), np.arange(8) % 2, ["a", "b"], x_test=RNG.normal(size=(3, 2)))


# Splits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("validation", ["cut", "extra", "given"])
def test_every_kind_is_split(kind, groups, validation):
    more = {"groups": np.arange(N) // 3} if groups else {}
    if validation == "given":
        y, _ = targets(kind, 9)
        more |= {"x_test": RNG.normal(size=(5, 4)), "y_test": None if y is None else y[:5]}
        more |= {"x_val": RNG.normal(size=(9, 4)), "y_val": y}
    task = table(kind, **more)
    given = {"validation": validation, **({"validation_size": 4} if validation == "extra" else {})}
    pool = Pool.of(task)
    small, large = (split_pool(pool, "t", size, 3, Recipe(**given), task.classes) for size in (6, 12))
    for split, size in ((small, 6), (large, 12)):
        assert not set(split.train) & set(split.validation)
        assert len(split.train) > 0 < len(split.validation)
        if validation != "cut":
            assert len(split.train) == size
        if groups and validation != "given":
            assert not set(task.groups[split.train]) & set(task.groups[split.validation])
    if validation == "extra":
        assert list(large.train[:6]) == list(small.train)


def test_prefixes_hold_every_bin_of_a_regression_in_proportion():
    y = np.random.default_rng(5).lognormal(size=500)[:, None]
    head = head_of("regression")
    order = pool_order(head.strata(y), "t", 0)
    for size in (50, 100, 250):
        counts = np.bincount(head.strata(y)[order[:size]], minlength=5)
        assert np.abs(counts - size / 5).max() <= 1


def test_a_rare_label_is_spread_over_the_parts():
    y = np.zeros((200, 3), bool)
    y[:, 0] = True
    y[:10, 2] = True
    task = Task(RNG.normal(size=(200, 2)), y, ["common", "never", "rare"], kind="multi-label")
    assert (task.y[:, 2].sum(), task.y_test[:, 2].sum()) == (7, 3)
    split = split_pool(Pool.of(task), "t", 100, 0, Recipe(), task.classes)
    assert task.y[split.validation][:, 2].sum() >= 1  # "never" is demanded nowhere


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_regression_of_a_few_examples_has_validation_and_training(size):
    task = table("regression")
    split = split_pool(Pool.of(task), "t", size, 0, Recipe(), task.classes)
    assert len(split.validation) == 1
    assert len(split.train) == size - 1
    with pytest.raises(DataError, match="1 labelled examples leave none for validation"):
        split_pool(Pool.of(task), "t", 1, 0, Recipe(), task.classes)


def test_one_group_alone_cannot_be_split():
    with pytest.raises(DataError, match="from 1 groups: there must be two"):
        table("regression", groups=np.zeros(N, int))


# Copies, changes, files for workers -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_copies_keep_the_kind(kind, tmp_path):
    task = table(kind)
    taken = task.take(np.arange(10))
    assert (taken.kind, len(taken.y)) == (kind, 10)
    assert standardise(task, task).kind == kind
    assert standardise(task, task).x.mean() == pytest.approx(0, abs=1e-6)
    save_task(task, tmp_path / "kept")
    back = read_task(tmp_path / "kept")
    assert (back.kind, back.classes, back.fingerprint) == (kind, task.classes, task.fingerprint)
    card = card_of(task)
    assert Card.from_json(card.to_json()) == card
    assert ("kind" in card.to_json()) == (kind != "single-label")
    assert card.majority_accuracy is None or kind == "single-label"


def test_the_card_counts_what_a_label_has():
    task = table("multi-label")
    assert card_of(task).class_counts == tuple(task.y.sum(0))
    assert card_of(table("regression")).class_counts == ()


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        ("classes", {"keep": ["a", "b"]}),
        ("class_half", {}),
        ("imbalance", {"ratio": 2.0}),
        ("size_limit", {"per_class": 2}),
        ("label_noise", {"rate": 0.5}),
        ("swapped_labels", {"first": "a", "second": "b"}),
        ("mix", {"task": table("single-label")}),
    ],
)
def test_changes_of_classes_refuse_other_kinds(kind, change, arguments):
    with pytest.raises(DataError, match=rf"{change}.*needs one class an example.*mine is {kind}"):
        CHANGES.get(change).function(table(kind), np.random.default_rng(0), **arguments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        ("pixel_permutation", {}),
        ("input_noise", {"std": 0.1}),
        ("example_half", {}),
        ("size_limit", {"examples": 12}),
    ],
)
def test_changes_of_inputs_and_examples_work_with_every_kind(kind, change, arguments):
    made = CHANGES.get(change).function(table(kind), np.random.default_rng(0), **arguments)
    assert made.kind == kind
    assert made.fingerprint != table(kind).fingerprint


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_targets_of_other_kinds_can_be_dealt_out_anew(kind):
    task = table(kind)
    made = CHANGES.get("shuffled_labels").function(task, np.random.default_rng(0), share=0.5)
    moved = (made.y != task.y).any(1)
    assert 0 < moved.sum() <= 21
    assert (made.harmful == moved).all()
    assert sorted(made.y.tolist()) == sorted(task.y.tolist())


def test_images_of_a_regression_are_fitted():
    y, classes = targets("regression")
    task = Task(np.zeros((N, 1, 6, 6), np.uint8) + np.arange(N, dtype=np.uint8)[:, None, None, None], y, classes,
                kind="regression")  # fmt: skip
    made = fit(task, (3, 4, 4))
    assert made.shape == (3, 4, 4)
    assert (made.y == task.y).all()


# Suites -----------------------------------------------------------------------------------------------


def planned(kinds, **suite):
    """Return the plan of a suite with a target and a source of given kinds."""
    config = {
        "pairs": [{"target": "digits", "sources": ["noise"]}],
        "backbones": ["mlp"],
        "target_sizes": [20],
        **suite,
    }
    loaded = load_suite(config)
    bare, cards = Plan(loaded), {}
    for (name, spec), kind in zip(bare.tasks.items(), kinds, strict=True):
        cards[spec.digest] = card_of(table(kind).changed(name=name))
    return Plan(loaded, cards)


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_sizes_by_class_are_for_classes(kind):
    (problem,) = ruled_out(planned((kind, "single-label"), target_sizes=["5 per class", 20, "all"]))
    assert "size 5 per class" in problem.place
    assert f"a {kind} task has no classes to count by" in problem.message
    assert planned((kind, kind), target_sizes=["all"]).sizes("digits") == [42]


def test_a_target_without_labels_is_refused_and_a_source_is_not():
    assert "can be a source only" in ruled_out(planned(("unlabelled", "single-label")))[0].message
    (problem,) = ruled_out(planned(("single-label", "unlabelled")))
    assert "say a method that needs none" in problem.message


def test_a_head_is_kept_between_tasks_of_one_kind_alone():
    both = {"strategies": ["zero-shot"]}
    assert [t for t in planned(("regression", "regression"), **both).trials() if t.model]
    assert not [t for t in planned(("regression", "single-label"), **both).trials() if t.model]
    assert not [t for t in planned(("multi-label", "single-label"), **both).trials() if t.model]


@pytest.mark.parametrize("kinds", [("regression", "single-label"), ("single-label", "multi-label")])
def test_weightings_by_class_are_for_classes(kinds):
    plan = planned(kinds, weighting=["per-class", "per-example"])
    classed = kinds[1] == "single-label"
    assert {m.weighting for m in plan.source_models()} == {"uniform", "per-example", *["per-class"] * classed}
    shared = planned(kinds, weighting=[{"weighting": "l2rw", "head": "shared"}])
    assert any("needs two single-label tasks" in problem.message for problem in ruled_out(shared))


@pytest.mark.parametrize("kind", ["regression", "multi-label"])
def test_other_kinds_run_with_weights_and_measures(kind, tmp_path):
    import bench

    rng = np.random.default_rng(0)
    for name in ("here", "there"):
        x = rng.normal(size=(120, 3))
        y = 100 + 30 * x[:, :1] if kind == "regression" else x[:, :2] > 0
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, x_test_night=x[:30] + 0.1, y_test_night=y[:30])
    config = {
        "tasks": {name: {"npz": str(tmp_path / f"{name}.npz"), "kind": kind} for name in ("here", "there")},
        "pairs": [{"target": "here", "sources": ["there"]}],
        "backbones": ["mlp"], "strategies": ["fine-tune", "joint", "zero-shot"], "target_sizes": [30], "seeds": 1,
        "weighting": ["per-example", "loss"], "statistics": {"margin": 0.01},
        "recipe": {"steps": 60, "checkpoints": 2, "learning_rates": [0.03]},
        "source_recipe": {"steps": 60, "learning_rates": [0.03]},
    }  # fmt: skip
    rows = bench.run(config, tmp_path / "out", jobs=0)
    assert len(rows) > 10
    assert (rows.status == "ok").all(), rows.error.tolist()
    assert (rows.test_score > 0.6).all()
    assert (rows.test_score_night > 0.6).all()
    of_source = rows[rows.source == "there"]
    assert of_source.frechet_distance.notna().all()
    assert "leep" not in rows or rows.leep.isna().all()  # it asks for classes
    assert "error" not in rows or rows.error.isna().all()


# Readers ----------------------------------------------------------------------------------------------


def read(name, path, **arguments):
    return TASKS.get(name).function(path.parent, path=path.name, **arguments)


@pytest.fixture
def houses(tmp_path):
    """Write a table of forty houses and return it with its path."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"rooms": rng.integers(1, 9, 40), "area": rng.normal(80, 20, 40)})
    frame["price"] = 10.0 * frame["rooms"] + rng.normal(size=40)
    frame["garden"], frame["lift"] = rng.integers(0, 2, 40), rng.random(40) < 0.3
    return frame, tmp_path / "houses.csv"


def test_a_table_of_numbers_to_predict(houses):
    frame, path = houses
    frame.to_csv(path, index=False)
    task = read("table", path, label="price", kind="regression", drop=["garden", "lift"])
    assert (task.kind, task.classes, task.shape) == ("regression", ("price",), (2,))
    assert sorted(np.concatenate([task.y, task.y_test])[:, 0]) == pytest.approx(sorted(frame["price"]))
    two = read("table", path, label=["price", "area"], kind="regression", drop=["garden", "lift"])
    assert (two.y.shape, two.shape) == ((28, 2), (1,))


def test_a_table_of_several_labels(houses):
    frame, path = houses
    frame.to_csv(path, index=False)
    task = read("table", path, label=["garden", "lift"], kind="multi-label")
    assert (task.kind, task.classes, task.shape) == ("multi-label", ("garden", "lift"), (3,))
    assert np.concatenate([task.y, task.y_test]).sum(0).tolist() == [frame["garden"].sum(), frame["lift"].sum()]


def test_a_table_without_labels(houses):
    frame, path = houses
    frame.drop(columns=["lift"]).to_csv(path, index=False)
    assert read("table", path, kind="unlabelled").shape == (4,)
    task = read("table", path, kind="unlabelled", label="price")
    assert (task.shape, task.classes, task.labelled) == ((3,), (), False)


@pytest.mark.parametrize("missing", ["error", "drop"])
@pytest.mark.parametrize(
    ("column", "value", "arguments", "message"),
    [
        ("price", "dear", {"label": "price", "kind": "regression"}, '"price", row 8: dear is not a number'),
        ("price", "inf", {"label": "price", "kind": "regression"}, '"price", row 8: inf is not a number'),
        ("garden", 2, {"label": ["garden", "lift"], "kind": "multi-label"}, '"garden", row 8: 2 is not 0 or 1'),
    ],
)
def test_a_wrong_target_in_a_table_is_named(houses, column, value, arguments, message, missing):
    frame, path = houses
    frame = frame.astype({column: object})
    frame.loc[7, column] = value
    frame.loc[2, "area"] = np.nan if missing == "drop" else 1.0  # rows are counted as in the file
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"houses\.csv: column {message}"):
        read("table", path, missing=missing, **arguments)


def test_a_missing_target_in_a_table_is_named(houses):
    frame, path = houses
    frame.loc[7, "price"] = np.nan
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r'houses\.csv: column "price" has 1 missing value, the first in row 8'):
        read("table", path, label="price", kind="regression")
    filled = read("table", path, label="garden", kind="multi-label", missing="fill")
    assert any("filled with the train pool's median" in note for note in filled.notes)


def test_several_columns_are_no_class(houses):
    frame, path = houses
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r'one column holds the class.*kind = "multi-label"'):
        read("table", path, label=["garden", "lift"])
    with pytest.raises(BenchError, match=r'unknown kind of table "multilabel"; did you mean "multi-label"'):
        read("table", path, label=["garden", "lift"], kind="multilabel")


@pytest.mark.parametrize("kind", KINDS)
def test_an_npz_of_each_kind(kind, tmp_path):
    y, classes = targets(kind)
    arrays = {"x": RNG.normal(size=(N, 4)), **({} if y is None else {"y": y, "classes": np.array(classes)})}
    np.savez(tmp_path / "mine.npz", **arrays)
    task = read("npz", tmp_path / "mine.npz", kind=kind)
    assert (task.kind, task.classes, len(task.y)) == (kind, tuple(classes), 42)


def test_numbers_in_an_npz_are_named_where_it_does_not(tmp_path):
    np.savez(tmp_path / "one.npz", x=RNG.normal(size=(N, 4)), y=RNG.normal(size=N))
    assert read("npz", tmp_path / "one.npz", kind="regression").classes == ("target",)
    np.savez(tmp_path / "two.npz", x=RNG.normal(size=(N, 4)), y=RNG.random((N, 2)) < 0.5)
    assert read("npz", tmp_path / "two.npz", kind="multi-label").classes == ("label 1", "label 2")
    wrong = np.zeros((N, 2), int)
    wrong[5, 1] = 2
    np.savez(tmp_path / "three.npz", x=RNG.normal(size=(N, 4)), y=wrong)
    with pytest.raises(DataError, match=r"three\.npz: .*example 5, label 'label 2': 2 is neither 0 nor 1"):
        read("npz", tmp_path / "three.npz", kind="multi-label")
    with pytest.raises(DataError, match="labels must be whole numbers or strings"):
        read("npz", tmp_path / "one.npz")


def test_a_folder_of_images_without_labels(tmp_path):
    from PIL import Image

    for number in range(10):
        place = tmp_path / "photos" / ("deep" if number % 2 else ".") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(place)
    task = read("image-folder", tmp_path / "photos", kind="unlabelled")
    assert (task.kind, task.classes, task.shape, len(task.y)) == ("unlabelled", (), (1, 4, 4), 7)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none: has no images"):
        read("image-folder", tmp_path / "none", kind="unlabelled")
