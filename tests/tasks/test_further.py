"""Further test sets and given validation splits in the user's own files: read, kept apart, and checked for leaks."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bench
from bench.errors import DataError, SuiteError
from bench.registry import TASKS
from bench.suite import Plan, load_suite
from bench.tasks.build import card_of

RNG = np.random.default_rng(0)


def read(name, path, **arguments):
    return TASKS.get(name).function(path.parent, path=path.name, **arguments)


# Readers ----------------------------------------------------------------------------------------------


def arrays(n=60, **more):
    return {"x": RNG.normal(size=(n, 3)), "y": np.array(["hen", "cat"])[np.arange(n) % 2], **more}


def test_an_npz_names_its_further_test_sets(tmp_path):
    more = {"x_test_night": RNG.normal(size=(6, 3)), "y_test_night": np.array(["cat"] * 6)}
    np.savez(tmp_path / "mine.npz", **arrays(**more))
    task = read("npz", tmp_path / "mine.npz")
    assert list(task.further) == ["night"]
    assert task.further["night"][1].tolist() == [task.classes.index("cat")] * 6
    assert card_of(task).further == (("night", 6),)
    assert len(task.y_test) == 18  # the protocol's own cut
    np.savez(tmp_path / "half.npz", **arrays(x_test_night=RNG.normal(size=(6, 3))))
    with pytest.raises(DataError, match="give both x_test_night and y_test_night, or neither"):
        read("npz", tmp_path / "half.npz")
    np.savez(tmp_path / "other.npz", **arrays(a=RNG.normal(size=(6, 3)), b=np.array(["cat"] * 6)))
    keys = {"x_test_rain": "a", "y_test_rain": "b"}
    assert list(read("npz", tmp_path / "other.npz", keys=keys).further) == ["rain"]


def table(path, n=40, shift=0.0, label="label", **more):
    x = np.random.default_rng(n).normal(shift, 1, (n, 2))
    frame = pd.DataFrame({"p": x[:, 0], "q": x[:, 1], label: np.where(x[:, 0] > shift, "yes", "no"), **more})
    frame.to_csv(path, index=False)


def test_a_table_has_further_tables_to_test_on(tmp_path):
    table(tmp_path / "day.csv", 40, site=np.arange(40) % 5, part=["train", "train", "test", "val"] * 10)
    table(tmp_path / "night.csv", 8, 1.0)
    table(tmp_path / "rain.csv", 6, 1.0, site=[3, 3, 3, 77, 77, 77])
    given = {"night": "night.csv", "rain": "rain.csv"}
    task = read("table", tmp_path / "day.csv", split="part", group="site", further=given)
    assert {name: len(y) for name, (_, y) in task.further.items()} == {"night": 8, "rain": 6}
    assert task.shape == (2,)
    assert any("the given further test set rain shares 1 of its groups" in note for note in task.notes)
    assert len(task.y_test) == 10
    filled = read("table", tmp_path / "day.csv", missing="fill", drop=["site", "part"], further={"night": "night.csv"})
    assert list(filled.further) == ["night"]
    with pytest.raises(DataError, match=r"no file at .*nigth\.csv; did you mean .night\.csv"):
        read("table", tmp_path / "day.csv", further={"night": "nigth.csv"})
    with pytest.raises(DataError, match="further must map names to files"):
        read("table", tmp_path / "day.csv", further="night.csv")
    table(tmp_path / "odd.csv", 8, label="labels")
    with pytest.raises(DataError, match=r'odd\.csv: no column "label"; did you mean "labels"'):
        read("table", tmp_path / "day.csv", drop=["site", "part"], further={"odd": "odd.csv"})


def folder(root, part, values):
    for name, value in values.items():
        for number in range(10):
            place = root / part / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), value + number).save(place)


def test_a_folder_has_further_test_sets_beside_its_own(tmp_path):
    root = tmp_path / "animals"
    for part, value in (("train", 0), ("test", 20), ("test-night", 120), ("test_Rain", 140)):
        folder(root, part, {"cat": value, "hen": value + 100})
    task = read("image-folder", root)
    assert {name: len(y) for name, (_, y) in task.further.items()} == {"night": 20, "rain": 20}
    assert task.further["night"][0].min() == 120
    assert (len(task.y), len(task.y_test), task.notes) == (20, 20, ())
    folder(root, "test-dawn", {"cow": 3, "hen": 4})
    with pytest.raises(DataError, match='test-dawn: the class "cow" is not in train/'):
        read("image-folder", root)


def test_a_class_may_be_called_like_a_further_test_set(tmp_path):
    folder(tmp_path, ".", {"test-a": 0, "test-b": 100})
    assert read("image-folder", tmp_path).classes == ("test-a", "test-b")


# Suites -----------------------------------------------------------------------------------------------


def suite(folder):
    text = """
        backbones = ["mlp"]
        strategies = ["scratch"]
        target_sizes = [10]
        seeds = 1
        recipe = { steps = 4, checkpoints = 1, learning_rates = [0.1] }
        [tasks]
        day = { table = "day.csv", further = { night = "night.csv" } }
        other = { table = "night.csv" }
        [[pairs]]
        source = "other"
        target = "day"
    """
    path = folder / "mine.toml"
    path.write_text("\n".join(line.strip() for line in text.splitlines()))
    return path


def test_no_path_of_a_further_table_is_an_identity(tmp_path):
    keys = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        table(tmp_path / place / "day.csv")
        table(tmp_path / place / "night.csv", 20, 1.0)
        rows = bench.run(suite(tmp_path / place), tmp_path / place / "out", jobs=0)
        assert list(rows.status) == ["ok"]
        keys.append(list(rows.key))
        spec = Plan(load_suite(tmp_path / place / "mine.toml")).tasks["day"]
        assert "further" not in spec.to_json()["args"]
        assert spec.arguments["further"]["night"] == str(tmp_path / place / "night.csv")
    assert keys[0] == keys[1]
    table(tmp_path / "two" / "night.csv", 21, 1.0)
    assert list(bench.run(suite(tmp_path / "two"), tmp_path / "two" / "out", jobs=0).key) != keys[0]


# A validation split that overlaps the test set --------------------------------------------------------


def npz_suite(folder, x_val, x_test, validation="given"):
    n = len(x_val)
    shape = x_val.shape[1:]
    x = np.random.default_rng(5).random((40, *shape))
    parts = {"x_val": x_val, "y_val": np.arange(n) % 2, "x_test": x_test, "y_test": np.arange(len(x_test)) % 2}
    np.savez(folder / "mine.npz", x=x, y=np.arange(40) % 2, **parts)
    return {
        "tasks": {"mine": {"npz": str(folder / "mine.npz")}},
        "pairs": [{"target": "mine", "sources": ["digits" if len(shape) > 1 else "mine"]}],
        "backbones": ["mlp"], "strategies": ["scratch"], "target_sizes": [10], "seeds": 1,
        "recipe": {"steps": 4, "checkpoints": 1, "learning_rates": [0.1], "validation": validation},
    }  # fmt: skip


class Notes:
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)

    def __getattr__(self, name):
        return lambda *_, **__: None


@pytest.mark.parametrize(
    ("shape", "n", "shared", "refused"),
    [((3,), 40, 40, True), ((3,), 40, 3, True), ((3,), 40, 2, False), ((1, 8, 8), 40, 1, True), ((3,), 40, 0, False)],
)
def test_a_validation_split_that_overlaps_the_test_set(tmp_path, shape, n, shared, refused):
    rng = np.random.default_rng(1)
    x_val, x_test = rng.random((n, *shape)), rng.random((n, *shape))
    x_val[:shared] = x_test[n - shared :]
    config, notes = npz_suite(tmp_path, x_val, x_test), Notes()
    if refused:
        said = rf'target "mine": {shared} of the 40 examples of the given validation split are in the test set too'
        with pytest.raises(SuiteError, match=said):
            bench.run(config, tmp_path / "out", jobs=0)
        assert not list((tmp_path / "out" / "sources").glob("*"))
        config["recipe"]["validation"] = "cut"  # where nobody uses it, it may
    bench.run(config, tmp_path / "out", jobs=0, progress=notes)
    if shared == 2:
        assert any("40 examples of the given split, 2 of them in the test set too" in text for text in notes.said)
