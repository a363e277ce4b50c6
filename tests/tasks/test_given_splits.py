"""Data as they come split: parts in folders, arrays and columns; what is cut, merged or left out is said."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bench
from bench.errors import DataError
from bench.registry import TASKS
from bench.tasks.base import Task
from bench.tasks.changes_data import classes as keep_classes
from bench.tasks.changes_data import example_half
from bench.tasks.changes_inputs import inversion
from bench.tasks.changes_labels import label_noise
from bench.tasks.changes_mix import mix
from bench.tasks.fit import fit
from bench.tasks.standardise import standardise


def make(name, root, path, **arguments):
    return TASKS.get(name).function(root, path=str(path), **arguments)


def folder(root, counts, size=(8, 8), value=0):
    for number, (name, count) in enumerate(counts.items()):
        for k in range(count):
            path = root / name / f"p{k // 2}_{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, value + 100 * number + k).save(path)


def arrays(n, seed=0, **more):
    rng = np.random.default_rng(seed)
    return {"x": rng.random((n, 3)), "y": np.arange(n) % 2, **more}


# Folders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val"])
def test_train_and_val_alone_make_val_the_test_set_and_say_so(tmp_path, name):
    folder(tmp_path / "train", {"ant": 6, "bee": 5})
    folder(tmp_path / name, {"ant": 3, "bee": 4}, value=10)
    task = make("image-folder", tmp_path, ".")
    assert (len(task.y), len(task.y_test), task.n_val) == (11, 7, 0)
    assert sorted(task.x_test[:, 0, 0, 0]) == [10, 11, 12, 110, 111, 112, 113]
    assert task.notes == (
        "test set: the 7 examples of the given validation split, as there is no other; validation is cut from the "
        "train pool",
    )


def test_train_val_and_test_are_three_parts_and_merge_only_when_asked(tmp_path):
    for place, value in (("train", 0), ("valid", 20), ("test", 40)):
        folder(tmp_path / place, {"ant": 4, "bee": 4}, value=value)
    task = make("image-folder", tmp_path, ".")
    assert (len(task.y), task.n_val, len(task.y_test)) == (8, 8, 8)
    assert task.x.max() < 120 <= task.x_val.max() < 140 <= task.x_test.max()
    assert task.notes == ()
    merged = make("image-folder", tmp_path, ".", merge_val=True)
    assert (len(merged.y), merged.n_val, len(merged.y_test)) == (16, 0, 8)
    assert merged.notes == ("validation split: its 8 examples were added to the train pool (merge_val = true)",)
    folder(tmp_path / "dev", {"ant": 1, "bee": 1})
    with pytest.raises(DataError, match=r"dev/ and valid/ both look like the val part"):
        make("image-folder", tmp_path, ".")


def test_a_test_set_that_is_cut_off_is_said_with_its_counts(tmp_path):
    folder(tmp_path, {"ant": 10, "bee": 20})
    note = "test set: 9 of 30 examples (30%) cut off by the protocol, stratified by class"
    assert make("image-folder", tmp_path, ".").notes == (note,)
    with pytest.raises(DataError, match="merge_val = true adds a validation split to the train pool, but there is no"):
        make("image-folder", tmp_path, ".", merge_val=True)


def test_groups_in_file_names_are_not_torn(tmp_path):
    folder(tmp_path, {"ant": 20, "bee": 20})
    task = make("image-folder", tmp_path, ".", group=r"(p\d+)_")
    assert len(np.unique(task.groups)) == 7
    seen = {int(v) % 100 // 2 for v in task.x[:, 0, 0, 0]}
    assert not seen & {int(v) % 100 // 2 for v in task.x_test[:, 0, 0, 0]}
    assert task.notes == ("test set: 12 of 40 examples (30%) cut off by the protocol, 3 of 10 groups, none torn",)
    with pytest.raises(DataError, match=r"p0_0.png: no group in this name"):
        make("image-folder", tmp_path, ".", group="patient")
    with pytest.raises(DataError, match="not a regular expression"):
        make("image-folder", tmp_path, ".", group="(")


# npz --------------------------------------------------------------------------------------------------


def test_npz_with_a_validation_split(tmp_path):
    three = {f"{k}{end}": v for end, n in (("", 20), ("_val", 6), ("_test", 8)) for k, v in arrays(n, n).items()}
    np.savez(tmp_path / "three.npz", **three)
    task = make("npz", tmp_path, "three.npz")
    assert (len(task.y), task.n_val, len(task.y_test)) == (20, 6, 8)
    assert np.allclose(task.x_val, three["x_val"])
    two = {k: v for k, v in three.items() if not k.endswith("_test")}
    np.savez(tmp_path / "two.npz", **two)
    task = make("npz", tmp_path, "two.npz")
    assert np.allclose(task.x_test, three["x_val"])
    assert "as there is no other" in task.notes[0]
    del two["y_val"]
    np.savez(tmp_path / "half.npz", **two)
    with pytest.raises(DataError, match="give both x_val and y_val"):
        make("npz", tmp_path, "half.npz")


def test_npz_by_medmnists_names_or_a_key_map(tmp_path):
    rng = np.random.default_rng(0)
    medmnist = {}
    for part, n in (("train", 20), ("val", 6), ("test", 8)):
        medmnist[f"{part}_images"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        medmnist[f"{part}_labels"] = np.arange(n)[:, None] % 2
    np.savez(tmp_path / "med.npz", **medmnist)
    task = make("npz", tmp_path, "med.npz")
    assert (task.shape, len(task.y), task.n_val, len(task.y_test)) == ((1, 28, 28), 20, 6, 8)
    assert np.array_equal(task.x_val[:, 0], medmnist["val_images"])
    np.savez(tmp_path / "own.npz", data=rng.random((20, 3)), target=np.arange(20) % 2, site=np.arange(20) // 4)
    own = make("npz", tmp_path, "own.npz", keys={"x": "data", "y": "target", "groups": "site"})
    assert np.unique(own.groups).tolist() == [0, 1, 2, 3]
    assert own.changed().fingerprint == own.fingerprint
    with pytest.raises(DataError, match=r'no array "x"; it has data, target, site; say which .* keys = \{ x = '):
        make("npz", tmp_path, "own.npz")
    with pytest.raises(DataError, match=r'keys say that x is "dat"; it has data, target, site; did you mean "data"'):
        make("npz", tmp_path, "own.npz", keys={"x": "dat", "y": "target"})
    with pytest.raises(DataError, match=r'unknown array of a task in keys "lables"'):
        make("npz", tmp_path, "own.npz", keys={"lables": "target"})
    with pytest.raises(DataError, match="keys must map names"):
        make("npz", tmp_path, "own.npz", keys=["x"])


# Tables -----------------------------------------------------------------------------------------------


def frame(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "label": np.arange(n) % 2})


def test_a_split_column(tmp_path):
    data = frame().assign(part=["train"] * 20 + ["Dev"] * 8 + ["test"] * 12)
    data.to_csv(tmp_path / "a.csv", index=False)
    task = make("table", tmp_path, "a.csv", split="part", standardise=False)
    assert (task.shape, len(task.y), task.n_val, len(task.y_test)) == ((2,), 20, 8, 12)
    assert np.allclose(task.x_val[:, 0], data["a"][20:28])
    merged = make("table", tmp_path, "a.csv", split=-1, standardise=False, merge_val=True)
    assert (len(merged.y), merged.n_val) == (28, 0)
    data.assign(part="tset").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r'split column "part" says "tset"; did you mean "test"'):
        make("table", tmp_path, "a.csv", split="part")


def test_a_validation_table(tmp_path):
    for name, n in (("a.csv", 20), ("v.csv", 6), ("t.csv", 8)):
        frame(n, n).to_csv(tmp_path / name, index=False)
    task = make("table", tmp_path, "a.csv", val_path="v.csv", test_path="t.csv")
    assert (len(task.y), task.n_val, len(task.y_test)) == (20, 6, 8)
    seen = standardise(task, task)
    assert np.allclose(seen.x_val, (task.x_val - task.x.mean(0)) / task.x.std(0), atol=1e-5)
    with pytest.raises(DataError, match="either split, or test_path"):
        make("table", tmp_path, "a.csv", val_path="v.csv", split="b")


def test_a_group_column_is_not_torn_and_no_input(tmp_path):
    frame(60).assign(site=[f"s{k // 4}" for k in range(60)]).to_csv(tmp_path / "a.csv", index=False)
    task = make("table", tmp_path, "a.csv", group="site", standardise=False)
    site = {row: k // 4 for k, row in enumerate(frame(60)["a"].tolist())}
    train, test = ({site[v] for v in x[:, 0].tolist()} for x in (task.x, task.x_test))
    assert task.shape == (2,)
    assert not train & test
    assert 15 <= len(task.y_test) <= 21
    assert "of 15 groups, none torn" in task.notes[0]


def test_given_parts_that_share_groups_are_said_to_leak(tmp_path):
    data = frame(40).assign(part=["train"] * 20 + ["test"] * 20, site=[f"s{k // 5}" for k in range(40)])
    data.loc[20:22, "site"] = "s0"
    data.to_csv(tmp_path / "a.csv", index=False)
    (note,) = make("table", tmp_path, "a.csv", split="part", group="site").notes
    shared = "the given test set shares 1 of its groups with the train pool (s0), 3 of its 20 examples: they leak"
    assert note == f"groups: {shared}"


# Tasks and changes ------------------------------------------------------------------------------------


def images(n, seed, groups=None, **more):
    rng = np.random.default_rng(seed)

    def part(m):
        return rng.integers(0, 256, (m, 1, 6, 6), np.uint8), np.arange(m) % 3

    (x, y), (x_val, y_val), (x_test, y_test) = part(n), part(9), part(12)
    return Task(x, y, "abc", x_test, y_test, x_val=x_val, y_val=y_val, groups=groups, **more)


def test_the_fingerprint_knows_the_new_parts_and_not_the_notes():
    plain = images(30, 0)
    assert plain.changed(notes=("cut",)).fingerprint == plain.fingerprint
    assert plain.changed(x_val=plain.x_val[::-1]).fingerprint != plain.fingerprint
    grouped = images(30, 0, groups=np.arange(30) // 5)
    assert grouped.fingerprint != plain.fingerprint
    # As it was before tasks had these parts.
    without = Task(np.arange(24.0).reshape(8, 3), [0, 1] * 4, "ab", np.ones((2, 3)), [0, 1])
    assert without.fingerprint == "f67fe4205be6ba05c04b"


def test_changes_treat_validation_as_they_treat_the_test_set():
    task, rng = images(30, 0, groups=np.repeat([f"p{k}" for k in range(10)], 3)), np.random.default_rng(0)
    assert np.array_equal(inversion(task, rng).x_val, 255 - task.x_val)
    noisy = label_noise(task, rng, 0.5)
    assert np.array_equal(noisy.y_val, task.y_val)
    assert np.array_equal(noisy.groups, task.groups)
    two = keep_classes(task, rng, ["c", "a"])
    assert np.array_equal(two.y_val, np.where(task.y_val == 2, 0, 1)[task.y_val != 1])
    assert len(two.groups) == len(two.y) == 20
    assert fit(task, (3, 4, 4)).x_val.shape == (9, 3, 4, 4)
    mixed = mix(task, rng, images(30, 1), share=0.5)
    assert (len(mixed.groups), len(np.unique(mixed.groups)), mixed.n_val) == (60, 40, 9)
    halves = [example_half(task, rng, half) for half in ("first", "second")]
    assert sum(len(half.y) for half in halves) == 30
    known = [{part.tobytes() for part in half.x} for half in halves]
    of = {x.tobytes(): group for x, group in zip(task.x, task.groups, strict=True)}
    assert not {of[x] for x in known[0]} & {of[x] for x in known[1]}


def test_groups_must_be_one_an_example():
    with pytest.raises(DataError, match=r"groups have shape \(4,\), there are 30 examples"):
        images(30, 0, groups=[1, 2, 3, 4])
    with pytest.raises(DataError, match="no test set can be cut from 2 groups"):
        Task(np.zeros((6, 2)), [0, 0, 0, 1, 1, 1], "ab", groups=[0, 0, 0, 1, 1, 1])


# Whole runs -------------------------------------------------------------------------------------------


class Notes:
    """Keeps what a run says."""

    def __init__(self):
        self.said = []

    def stage(self, name, total): ...

    def advance(self, record): ...

    def note(self, text):
        self.said.append(text)


def suite(root, **more):
    return {
        "folder": str(root), "backbones": ["mlp"], "strategies": ["feature-extraction", "fine-tune"], "seeds": 1,
        "target_sizes": [12, 24], "measures": [], "source_recipe": {"steps": 5},
        "recipe": {"steps": 6, "checkpoints": 1}, "pairs": [{"target": "t", "source": "s"}],
        "tasks": {"t": {"npz": "t.npz"}, "s": {"npz": "s.npz"}}, **more,
    }  # fmt: skip


def test_a_given_validation_split_chooses_where_the_suite_says_so(tmp_path):
    """Its labels are turned round: who is right on the test set is wrong on it."""
    for name, n in (("t", 60), ("s", 80)):
        parts = {}
        for end, m in (("", n), ("_test", 30), ("_val", 20)):
            y = np.arange(m) % 2
            x = np.random.default_rng(m).normal(size=(m, 2)) * 0.1 + 4 * y[:, None] - 2
            parts |= {f"x{end}": x, f"y{end}": 1 - y if end == "_val" and name == "t" else y}
        np.savez(tmp_path / f"{name}.npz", **parts)
    notes = Notes()
    recipe = {"steps": 40, "checkpoints": 1, "validation": "given"}
    rows = bench.run(suite(tmp_path, recipe=recipe), tmp_path / "given", jobs=0, progress=notes)
    assert (rows.status == "ok").all()
    assert (rows.validation == "given").all()
    assert (rows.test_accuracy == 1).all()
    assert (rows.val_accuracy == 0).all()
    assert "t: validation: the 20 examples of the given split" in notes.said
    notes = Notes()
    rows = bench.run(suite(tmp_path), tmp_path / "cut", jobs=0, progress=notes)
    assert (rows.validation == "cut 0.2").all()
    assert "t: validation: 2 of 12, 5 of 24 labelled examples cut off" in notes.said
    (unused,) = [note for note in notes.said if "is not used" in note]
    assert unused.startswith("t, s: the given validation split of 20 examples is not used")


def test_a_given_validation_split_is_the_same_where_data_are_mapped_from_the_disk(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, n in (("t", 60), ("s", 80)):
        parts = {}
        for end, m in (("", n), ("_test", 30), ("_val", 20)):
            parts |= {f"x{end}": rng.integers(0, 256, (m, 1, 8, 8), np.uint8), f"y{end}": np.arange(m) % 2}
        np.savez(tmp_path / f"{name}.npz", **parts)
    recipe = {"steps": 8, "checkpoints": 2, "validation": "given"}
    cnn = suite(tmp_path, recipe=recipe, backbones=[{"backbone": "cnn", "channels": [4, 4]}])
    held = bench.run(cnn, tmp_path / "held", jobs=0)
    monkeypatch.setenv("NTBENCH_MEMORY", "2K")
    mapped = bench.run(cnn, tmp_path / "mapped", jobs=0)
    columns = ["key", "val_accuracy", "val_loss", "test_loss", "learning_rate", "best_step"]
    assert (held.status == "ok").all()
    assert held[columns].equals(mapped[columns])


def test_given_validation_that_is_not_there_is_said_before_training(tmp_path):
    for name in "ts":
        np.savez(tmp_path / f"{name}.npz", **arrays(60))
    recipe = {"steps": 4, "checkpoints": 1, "validation": "given"}
    given = suite(tmp_path, recipe=recipe)
    said = r'target "t".*validation = "given", but the data come without a validation split beside a test set'
    with pytest.raises(bench.errors.SuiteError, match=said):
        bench.run(given, tmp_path / "run", jobs=0)
    with pytest.raises(bench.errors.SuiteError, match=said.replace("target", "source").replace('"t"', '"s"')):
        bench.run(suite(tmp_path, source_recipe=recipe), tmp_path / "run", jobs=0)
    with pytest.raises(bench.errors.SuiteError, match="refit trains on validation examples too"):
        bench.run(suite(tmp_path, recipe={**recipe, "refit": True}), tmp_path / "run", jobs=0)


def test_the_suites_image_size_serves_folders_of_photographs_of_odd_sizes(tmp_path):
    for place in ("train", "val"):
        for name, width, value in (("ant", 30, 40), ("bee", 24, 200)):
            for k in range(12):
                path = tmp_path / "photos" / place / name / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (width + k, 20), (value, k, 0)).save(path)
    notes = Notes()
    tasks = {"t": {"folder": "photos"}, "s": {"task": "t", "inversion": True}}
    rows = bench.run(suite(tmp_path, tasks=tasks, image_size=8), tmp_path / "run", jobs=0, progress=notes)
    assert (rows.status == "ok").all()
    assert (rows.n_test == 24).all()
    first = "t, s: images: 48 of 48 cropped to their centre square, which leaves out "
    assert any(re.match(re.escape(first) + r"\d+% of each on average; all are 8 x 8 now", note) for note in notes.said)
