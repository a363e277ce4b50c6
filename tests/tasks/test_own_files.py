"""The user's own data: a folder of images, an npz, a table."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.errors import DataError
from bench.registry import TASKS


def make(name, root, path, **arguments):
    return TASKS.get(name).function(root, path=str(path), **arguments)


def attempt(name, root, path):
    """Return the task and None, or None and what was said."""
    try:
        return make(name, root, path), None
    except DataError as error:
        return None, str(error)


# Folders of images ------------------------------------------------------------------------------------


def paint(path, value, size=(6, 5), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(path)


def folder(root, counts, mode="RGB", **kwargs):
    for number, (name, count) in enumerate(counts.items()):
        for k in range(count):
            paint(root / name / f"{k:03d}.png", 50 * number + k, mode=mode, **kwargs)
    return root


def test_folder_without_a_split(tmp_path):
    folder(tmp_path / "mine", {"cat": 10, "dog": 20})
    task = make("image-folder", tmp_path, "mine")
    assert task.classes == ("cat", "dog")
    assert task.shape == (3, 5, 6)
    assert len(task.y) == 21
    assert np.bincount(task.y_test).tolist() == [3, 6]
    for x, y in ((task.x, task.y), (task.x_test, task.y_test)):
        assert ((x[:, 0, 0, 0] >= 50) == (y == 1)).all()


def test_folder_absolute_relative_and_moved_give_the_same_data(tmp_path):
    for place in ("one", "two"):
        folder(tmp_path / place / "mine", {"cat": 10, "dog": 20})
    prints = {
        make("image-folder", tmp_path / "one", "mine").fingerprint,
        make("image-folder", tmp_path / "nowhere", tmp_path / "one" / "mine").fingerprint,
        make("image-folder", tmp_path, "two/mine").fingerprint,
    }
    assert len(prints) == 1


def test_folder_with_train_and_test(tmp_path):
    folder(tmp_path / "train", {"cat": 4, "dog": 5, "emu": 2})
    folder(tmp_path / "test", {"cat": 3, "dog": 2})
    task = make("image-folder", tmp_path, ".")
    assert np.bincount(task.y).tolist() == [4, 5, 2]
    assert np.bincount(task.y_test).tolist() == [3, 2]
    folder(tmp_path / "test", {"catt": 1})
    with pytest.raises(DataError, match='class "catt" is not in train/; did you mean "cat"'):
        make("image-folder", tmp_path, ".")


def test_a_class_may_be_called_train(tmp_path):
    folder(tmp_path, {"train": 5, "tram": 5})
    assert make("image-folder", tmp_path, ".").classes == ("train", "tram")


def test_channels_and_size(tmp_path):
    folder(tmp_path / "grey", {"a": 5, "b": 5}, mode="L")
    assert make("image-folder", tmp_path, "grey").shape == (1, 5, 6)
    assert make("image-folder", tmp_path, "grey", channels=3).shape == (3, 5, 6)
    paint(tmp_path / "grey" / "b" / "colour.png", 3)
    assert make("image-folder", tmp_path, "grey", image_size=9).shape == (3, 9, 9)
    assert make("image-folder", tmp_path, "grey", channels=1).shape == (1, 5, 6)
    with pytest.raises(DataError, match="channels must be 1"):
        make("image-folder", tmp_path, "grey", channels=2)


def test_sizes_that_differ_ask_for_a_size(tmp_path):
    folder(tmp_path, {"a": 5, "b": 5})
    paint(tmp_path / "b" / "large.png", 3, size=(9, 9))
    with pytest.raises(DataError, match=r"6 x 5 and large.png 9 x 9 pixels; set image_size"):
        make("image-folder", tmp_path, ".")
    assert make("image-folder", tmp_path, ".", image_size=8).shape == (3, 8, 8)


def test_folder_mistakes(tmp_path):
    folder(tmp_path / "xrays", {"a": 5})
    with pytest.raises(DataError, match=r'no folder at .*xrais; did you mean "xrays"'):
        make("image-folder", tmp_path, "xrais")
    with pytest.raises(DataError, match=r'one class only \("a"\)'):
        make("image-folder", tmp_path, "xrays")
    (tmp_path / "xrays" / "b").mkdir()
    with pytest.raises(DataError, match='the class "b" has no images'):
        make("image-folder", tmp_path, "xrays")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="one folder per class"):
        make("image-folder", tmp_path, "bare")
    with pytest.raises(DataError, match="is not a folder"):
        make("image-folder", tmp_path, "xrays/a/000.png")
    with pytest.raises(DataError, match="image_size must be a whole number"):
        make("image-folder", tmp_path, "xrays", image_size="64")


def test_a_damaged_image_is_named(tmp_path):
    folder(tmp_path, {"a": 5, "b": 5})
    victim = tmp_path / "b" / "003.png"
    victim.write_bytes(victim.read_bytes()[:50])
    with pytest.raises(DataError, match=str(victim)):
        make("image-folder", tmp_path, ".")


def test_other_files_are_left_out_aloud_and_hidden_ones_in_silence(tmp_path, recwarn):
    folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".DS_Store").write_text("")
    make("image-folder", tmp_path, ".")
    assert not recwarn.list
    (tmp_path / "a" / "notes.txt").write_text("")
    with pytest.warns(UserWarning, match=r"1 x \.txt"):
        make("image-folder", tmp_path, ".")


# npz --------------------------------------------------------------------------------------------------


def arrays(n=20, **more):
    rng = np.random.default_rng(0)
    return {"x": rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8), "y": np.arange(n) % 2, **more}


def npz(path, **content):
    np.savez(path, **content)
    return path


def test_npz_round_trip(tmp_path):
    content = arrays(x_test=np.zeros((3, 1, 4, 4), np.uint8), y_test=[0, 1, 1], classes=["no", "yes"])
    task = make("npz", tmp_path, npz(tmp_path / "a.npz", **content).name)
    assert np.array_equal(task.x, content["x"])
    assert task.y.tolist() == content["y"].tolist()
    assert task.y_test.tolist() == [0, 1, 1]
    assert task.classes == ("no", "yes")


def test_npz_without_a_test_set_or_classes(tmp_path):
    task = make("npz", tmp_path, npz(tmp_path / "a.npz", **arrays(y=np.arange(20) % 2 * 5 + 3)))
    assert task.classes == ("3", "8")
    assert len(task.y_test) == 6


@pytest.mark.parametrize(
    ("y", "classes", "expected"),
    [
        (np.array(["b", "a"] * 10), None, ("a", "b")),
        (np.array(["b", "a"] * 10), ["b", "a"], ("b", "a")),
        (np.array([1.0, 0.0] * 10), None, ("0", "1")),
        (np.array([[True], [False]] * 10), None, ("False", "True")),
    ],
)
def test_npz_labels(tmp_path, y, classes, expected):
    more = {} if classes is None else {"classes": classes}
    task = make("npz", tmp_path, npz(tmp_path / "a.npz", **arrays(y=y, **more)))
    assert task.classes == expected
    words = [task.classes[label] for label in np.concatenate([task.y, task.y_test])]
    assert sorted(words) == sorted(str(v) if v.dtype.kind in "Ub" else str(int(v)) for v in y.ravel())


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (np.ones((20, 4, 5), np.uint8), (1, 4, 5), np.uint8),
        (np.ones((20, 4, 5, 3), np.uint8), (3, 4, 5), np.uint8),
        (np.ones((20, 1, 4, 3), np.uint8), (1, 4, 3), np.uint8),
        (np.ones((20, 1, 4, 4), np.int64) * 255, (1, 4, 4), np.uint8),
        (np.ones((20, 1, 4, 4), np.float64) / 2, (1, 4, 4), np.float32),
        (np.ones((20, 7), np.int32) * -1000, (7,), np.float32),
    ],
)
def test_npz_inputs(tmp_path, x, shape, dtype):
    task = make("npz", tmp_path, npz(tmp_path / "a.npz", **arrays(x=x)))
    assert task.shape == shape
    assert task.x.dtype == dtype
    assert task.x.flat[0] == x.flat[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": np.ones((20, 1, 4, 4)) * 255}, "floats must lie in 0 to 1, got 255"),
        ({"x": np.ones((20, 1, 4, 4), int) * 256}, "must lie in 0 to 255"),
        ({"x": np.ones((20, 2, 2, 2, 2))}, "must be N x C x H x W"),
        ({"x": np.array(["a"] * 20)[:, None]}, "must hold numbers"),
        ({"x": np.ones((0, 4))}, "is empty, of shape"),
        ({"x": np.full((20, 4), np.nan)}, "a.npz: npz, data set: input 0 has NaN"),
        ({"x": np.ones((19, 4))}, "19 inputs but 20 labels"),
        ({"y": np.arange(20) / 2}, "whole numbers or strings, got 0.5"),
        ({"y": np.zeros(20, int)}, "at least two classes"),
        ({"y": np.zeros((20, 2), int)}, "one-dimensional"),
        ({"classes": ["only"]}, "at least two classes"),
        ({"y": np.array(["cat", "dgo"] * 10), "classes": ["cat", "dog"]}, 'label "dgo".*did you mean "dog"'),
        ({"y": np.arange(20) % 3, "classes": ["a", "b"]}, "label 2 is outside"),
        ({"y": np.array(["a", 3] * 10, dtype=object)}, "pickled Python objects"),
        ({"x_test": np.ones((2, 1, 4, 4))}, "both x_test and y_test"),
        ({"xtest": np.ones((2, 1, 4, 4))}, 'unknown array "xtest"; did you mean "x_test"'),
    ],
)
def test_npz_mistakes(tmp_path, change, said):
    with pytest.raises(DataError, match=said) as caught:
        make("npz", tmp_path, npz(tmp_path / "a.npz", **arrays(**change)))
    assert "a.npz" in str(caught.value)


def test_npz_never_unpickles(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    bomb = np.array([Bomb()] * 20, dtype=object)
    npz(tmp_path / "a.npz", **arrays(y=bomb))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "c.npy", bomb)
    for name in ("a.npz", "b.npz", "c.npy"):
        with pytest.raises(DataError):
            make("npz", tmp_path, name)
    assert not (tmp_path / "exploded").exists()


def test_npz_damaged_anywhere_is_a_data_error(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", **arrays(200))
    content = (tmp_path / "whole.npz").read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(60):
        if trial % 2:
            damaged = content[: rng.integers(len(content))]
        else:
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= 255
        (tmp_path / "cut.npz").write_bytes(damaged)
        task, error = attempt("npz", tmp_path, "cut.npz")
        # A flipped byte can be one that means nothing.
        assert len(task.y) == 140 if task else "cut.npz" in error


def test_npz_other_arrays_are_left_out_aloud(tmp_path):
    with pytest.warns(UserWarning, match="left out the arrays patients"):
        make("npz", tmp_path, npz(tmp_path / "a.npz", **arrays(patients=np.arange(20))))


# Tables -----------------------------------------------------------------------------------------------


def frame(n=40):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "width": rng.normal(5, 3, n),
            "legs": rng.integers(0, 9, n),
            "tame": rng.random(n) > 0.5,
            "label": np.where(np.arange(n) % 2, "cat", "ant"),
        }
    )


WRITE = {
    "a.csv": lambda f, p: f.to_csv(p, index=False),
    "a.csv.gz": lambda f, p: f.to_csv(p, index=False),
    "a.tsv": lambda f, p: f.to_csv(p, index=False, sep="\t"),
    "a.parquet": lambda f, p: f.to_parquet(p),
}


@pytest.mark.parametrize("name", WRITE)
def test_table_in_every_format(tmp_path, name):
    data = frame()
    WRITE[name](data, tmp_path / name)
    task = make("table", tmp_path, name, standardise=False)
    assert task.classes == ("ant", "cat")
    assert task.shape == (3,)
    rows = np.concatenate([task.x, task.x_test])
    assert np.allclose(np.sort(rows, 0), np.sort(data.drop(columns="label").to_numpy(float), 0), rtol=1e-6)
    assert len(task.y_test) == 12


def test_a_table_keeps_its_values_and_says_which_columns_are_measured(tmp_path):
    data = frame().assign(colour=["red", "blue", "green", "red"] * 10)
    data.to_csv(tmp_path / "a.csv", index=False)
    task = make("table", tmp_path, "a.csv", one_hot=True)
    rows = np.concatenate([task.x, task.x_test])
    assert np.allclose(np.sort(rows[:, 0]), np.sort(data["width"]))
    assert task.measured.tolist() == [True] * 3 + [False] * 3
    raw = make("table", tmp_path, "a.csv", one_hot=True, standardise=False)
    assert np.array_equal(raw.x, task.x)
    assert not raw.measured.any()
    assert raw.fingerprint != task.fingerprint


def test_table_with_a_test_file(tmp_path):
    (tmp_path / "data").mkdir()
    frame(30).to_csv(tmp_path / "data" / "a.csv", index=False)
    held = frame(10)[["label", "tame", "legs", "width"]]
    held.to_parquet(tmp_path / "data" / "b.parquet")
    task = make("table", tmp_path, "data/a.csv", test_path="b.parquet", standardise=False)
    assert (len(task.y), len(task.y_test)) == (30, 10)
    assert np.allclose(task.x_test[:, 0], held["width"], rtol=1e-6)
    held.assign(extra=1).to_parquet(tmp_path / "data" / "b.parquet")
    with pytest.raises(DataError, match='the column "extra" is not in'):
        make("table", tmp_path, "data/a.csv", test_path="b.parquet")
    held.drop(columns="legs").to_parquet(tmp_path / "data" / "b.parquet")
    with pytest.raises(DataError, match='no column "legs"'):
        make("table", tmp_path, "data/a.csv", test_path="b.parquet")


def test_table_words_need_one_hot(tmp_path):
    data = frame().assign(colour=["red", "blue", "green", "red"] * 10)
    data.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r'"colour" is text .*3 different.*one_hot = true.*drop = \["colour"\]'):
        make("table", tmp_path, "a.csv")
    assert make("table", tmp_path, "a.csv", drop=["colour"]).shape == (3,)
    task = make("table", tmp_path, "a.csv", one_hot=True)
    assert task.shape == (6,)
    assert set(np.unique(task.x[:, 3:])) == {0, 1}
    assert (task.x[:, 3:].sum(1) == 1).all()
    everyone = np.concatenate([task.x, task.x_test])[:, 3:].sum(0)
    assert everyone.tolist() == [10, 10, 20]  # blue, green, red


def test_table_too_many_words_are_no_categories(tmp_path):
    frame(80).assign(patient=[f"p{k}" for k in range(80)]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r'"patient" is text.*no tasks on text itself yet'):
        make("table", tmp_path, "a.csv", one_hot=True)


def test_table_a_saved_index_is_no_feature(tmp_path):
    frame().to_csv(tmp_path / "a.csv")
    with pytest.warns(UserWarning, match="saved index"):
        assert make("table", tmp_path, "a.csv").shape == (3,)


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (lambda f: f.rename(columns={"label": "Lable"}), {}, 'no column "label"; did you mean "Lable"'),
        (lambda f: f, {"label": "kind"}, 'no column "kind"; columns: width, legs, tame, label'),
        (lambda f: f.assign(label=np.arange(40) / 3), {}, "labels must be whole numbers or strings, got 0.33"),
        (lambda f: f.assign(label="one"), {}, "at least two classes"),
        (lambda f: f.assign(label=[None, "a"] * 20), {}, 'column "label" has 20 missing values, the first in row 1'),
        (lambda f: f.assign(width=[1.0, np.nan] * 20), {}, 'column "width" has 20 missing values, the first in row 2'),
        (lambda f: f.assign(width=np.inf), {}, "NaN or infinite"),
        (lambda f: f.assign(when=pd.Timestamp("2020-01-01")), {}, '"when" is (text|not numeric)'),
        (lambda f: f[["label"]], {}, "no column beside the label"),
        (lambda f: f.iloc[:0], {}, "has no rows"),
        (lambda f: f, {"drop": ["with"]}, 'no column "with" to drop; did you mean "width"'),
        (lambda f: f, {"standardise": 1}, "standardise must be true or false"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_table_mistakes(tmp_path, name, change, arguments, said):
    WRITE[name](change(frame()), tmp_path / name)
    with pytest.raises(DataError, match=said):
        make("table", tmp_path, name, **arguments)


def test_table_columns_that_repeat(tmp_path):
    (tmp_path / "a.csv").write_text("a,label,label\n1,2,2\n3,4,4\n")
    with pytest.raises(DataError, match='the column "label" appears more than once'):
        make("table", tmp_path, "a.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x00" * 50, b"PAR1 and then nothing"])
def test_table_unreadable(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        make("table", tmp_path, name)


def test_table_cut_short(tmp_path):
    frame().to_parquet(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as a parquet table"):
        make("table", tmp_path, "a.parquet")


def test_table_of_another_kind_or_missing(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"not a table by its suffix; known: \.csv"):
        make("table", tmp_path, "a.xlsx")
    with pytest.raises(DataError, match=r'no file at .*a\.xls; did you mean "a\.xlsx"'):
        make("table", tmp_path, "a.xls")
    with pytest.raises(DataError, match="path must name a file"):
        TASKS.get("table").function(tmp_path, path=3)


@pytest.mark.parametrize("label", [[0, 1] * 20, [7, 9] * 20, [True, False] * 20, pd.Categorical(["x", "y"] * 20)])
def test_table_labels(tmp_path, label):
    frame().assign(label=label).to_parquet(tmp_path / "a.parquet")
    assert make("table", tmp_path, "a.parquet").classes == tuple(sorted({str(v) for v in label}))
