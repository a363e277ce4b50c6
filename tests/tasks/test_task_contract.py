"""Every offline task keeps the contract, and the contract notices every way of breaking it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError
from bench.registry import TASKS, known_classes
from bench.tasks.base import Task
from bench.tasks.contract import check_task
from bench.tasks.index import BUILTIN

ROOT = Path("no-data-root-needed")
OFFLINE = [
    ("digits", {}),
    ("digits", {"image_size": 11}),
    ("printed-digits", {"n": 30, "n_test": 20}),
    ("printed-digits", {"per_class": 3, "n_test": 20, "test_fonts": ["stix"], "image_size": 12}),
    ("glyphs", {"n": 52, "n_test": 26}),
    ("glyphs", {"characters": "greek", "per_class": 2, "n_test": 24}),
    ("glyphs", {"characters": "symbols", "n": 60, "n_test": 60}),
    ("glyphs", {"characters": "letters", "n": 60, "n_test": 60, "image_size": 20}),
    ("glyphs", {"characters": "äß%", "n": 6, "n_test": 6}),
    ("patches", {"n": 40, "n_test": 20}),
    ("patches", {"n": 40, "n_test": 20, "channels": 3, "rows": 1, "columns": 3}),
    ("patches", {"n": 40, "n_test": 20, "labels": "orientation", "min_contrast": 0.05}),
    ("patches", {"n": 40, "n_test": 20, "labels": "photo", "image_size": 8}),
    ("noise", {"n": 20, "n_test": 20}),
    ("noise", {"n": 20, "n_test": 20, "n_classes": 3, "channels": 3, "smoothness": 1.5}),
    ("moons", {"n": 20, "n_test": 20}),
    ("moons", {"n": 20, "n_test": 20, "noise": 0.3, "skew": 1.5, "sub_clusters": 2}),
]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in arguments.items())}" for name, arguments in OFFLINE]
NEEDS_DATA = {"bench.tasks.files", "bench.tasks.vision"}


def make(name, **arguments):
    return TASKS.get(name).function(ROOT, **arguments)


@pytest.mark.parametrize(("name", "arguments"), OFFLINE, ids=IDS)
def test_contract(name, arguments):
    assert check_task(lambda: make(name, **arguments)) == []


@pytest.mark.parametrize(("name", "arguments"), OFFLINE, ids=IDS)
def test_class_names_are_known_without_the_data(name, arguments):
    assert known_classes(name, arguments) == make(name, **arguments).classes


@pytest.mark.parametrize(("name", "arguments"), OFFLINE, ids=IDS)
def test_arguments_decide_shape_and_size(name, arguments):
    task = make(name, **arguments)
    assert task.name == name
    if name == "moons":
        assert task.shape == (2,)
        assert task.x.dtype == np.float32
        return
    size = arguments.get("image_size", 8 if name == "digits" else 16)
    assert task.shape == (arguments.get("channels", 1), size, size)
    assert task.x.dtype == np.uint8
    if name != "digits":
        assert len(task.y) == arguments.get("n", len(task.classes) * arguments.get("per_class", 0))
        assert len(task.y_test) == arguments["n_test"]
        counts = np.bincount(task.y)
        assert counts.max() - counts.min() <= 1


def test_every_offline_task_is_here():
    offline = {name for name, module in BUILTIN.items() if module not in NEEDS_DATA}
    assert {name for name, _ in OFFLINE} == offline


@pytest.mark.parametrize("name", ["printed-digits", "glyphs", "patches", "noise", "moons"])
def test_the_seed_draws_other_data(name):
    first, second = (make(name, n=60, n_test=60, seed=seed) for seed in (0, 1))
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(first.x, second.x)
    assert not np.array_equal(first.x_test, second.x_test)


@pytest.mark.parametrize("name", ["printed-digits", "glyphs", "patches", "noise", "moons"])
def test_the_test_set_does_not_depend_on_the_train_pool(name):
    first, second = (make(name, n=n, n_test=60) for n in (60, 80))
    np.testing.assert_array_equal(first.x_test, second.x_test)
    np.testing.assert_array_equal(first.y_test, second.y_test)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digits", {"image_size": 0}, "image_size must be a whole number, 1 or more; got 0"),
        ("noise", {"n": 5}, "n must be a whole number, 10 or more; got 5"),
        ("noise", {"n_classes": 1}, "n_classes must be a whole number, 2 or more; got 1"),
        ("noise", {"smoothness": float("nan")}, "smoothness must be a number from 0 to 16; got nan"),
        ("moons", {"overlap": -1}, "overlap must be a number of at least 0; got -1"),
        ("moons", {"rotation": "45"}, "rotation must be a number; got '45'"),
        ("moons", {"scale": 0}, "scale must not be 0"),
        ("moons", {"sub_clusters": 3}, "sub_clusters must be 0 to 2; got 3"),
    ],
)
def test_impossible_arguments_are_named(name, arguments, message):
    with pytest.raises(DataError, match=message):
        make(name, **arguments)


def test_importing_the_tasks_stays_light():
    modules = sorted({module for module in BUILTIN.values() if module not in NEEDS_DATA})
    changes = "from bench.tasks.index_changes import BUILTIN; [importlib.import_module(m) for m in BUILTIN.values()]"
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules}]; {changes}; "
        "print(sorted({'torch', 'sklearn', 'scipy', 'PIL', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The other half: a contract that lets everything pass would be worth nothing.


def images(n=20, **parts):
    rng = np.random.default_rng(0)
    given = {
        "x": rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8),
        "y": np.arange(n) % 2,
        "classes": ["a", "b"],
        "x_test": rng.integers(0, 256, (10, 1, 4, 4), dtype=np.uint8),
        "y_test": np.arange(10) % 2,
    }
    return Task(**{**given, **parts})


def drifting():
    numbers = iter(range(10))

    def build():
        x = images().x.copy()
        x[0, 0, 0, 0] = next(numbers)
        return images(x=x)

    return build


def renamed():
    numbers = iter(range(10))
    return lambda: images(classes=["a", f"b{next(numbers)}"])


def reversioned():
    numbers = iter(range(1, 10))
    return lambda: images(version=next(numbers))


def broken():
    raise ValueError("no such file")


def last_layout():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
    return images(x=x, x_test=rng.integers(0, 256, (10, 6, 6, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (drifting(), "two builds differ in x;"),
        (renamed(), "different class names"),
        (reversioned(), "different fingerprints"),
        (broken, "ValueError: no such file"),
        (lambda: "task", "returned str"),
        (lambda: images(y=np.zeros(20, int)), "every label is the same"),
        (lambda: images(classes=["a", "b", "c"]), 'no example in the train pool of class "c"'),
        (lambda: images(y_test=np.zeros(10, int)), 'no example in the test set of class "b"'),
        (last_layout, "look like H x W x C"),
        (lambda: images(x=images().x.astype(np.float32)), "train inputs are float32 but test inputs uint8"),
        (lambda: images(x=images().x / 1.0, x_test=images().x_test / 1.0), "float images must lie in 0 to 1"),
        (lambda: images(x=np.zeros((20, 1, 4, 4), np.uint8)), "every train input is the same"),
        (lambda: images(x_test=images().x[:10]), "10 of 10 test images are also in the train pool"),
        (
            lambda: images(x=images().x[:, 0, 0], x_test=images().x_test[:, 0, 0]),
            "tables must be float, got uint8",
        ),
    ],
)
def test_the_contract_notices(build, message):
    found = check_task(build)
    assert any(message in problem for problem in found), found


def test_a_sound_task_has_no_problem():
    assert check_task(images) == []
