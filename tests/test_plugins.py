"""Adding to what a suite can name: plug-in files, packages, and data that need no Python at all."""

from __future__ import annotations

import sys
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image

import bench
from bench.errors import BenchError, DataError, SuiteError
from bench.registry import BACKBONES, CHANGES, MEASURES, STRATEGIES, TASKS, load_plugin
from bench.suite import load_suite

TINY = """
    target_sizes = [20]
    seeds        = 1
    measures     = []
    strategies   = ["feature-extraction"]
    recipe        = {{ steps = 3, checkpoints = 1, learning_rates = [0.1] }}
    source_recipe = {{ steps = 3, checkpoints = 1 }}
    backbones    = [{backbone}]
"""
CNN = '{ backbone = "cnn", channels = [4, 4], name = "cnn" }'
MLP = '{ backbone = "mlp", widths = [8], name = "mlp" }'


@pytest.fixture(autouse=True)
def _forget_plugins():
    """Take out afterwards what a test has registered, so that the next may use the same names."""
    registries = (TASKS, CHANGES, BACKBONES, STRATEGIES, MEASURES)
    before, modules = [dict(registry._entries) for registry in registries], set(sys.modules)
    yield
    for registry, entries in zip(registries, before, strict=True):
        for name in set(registry._entries) - set(entries):
            if name not in registry._builtin:
                del registry._entries[name]
    for name in set(sys.modules) - modules:
        if name.startswith("ntbench_plugin_"):
            del sys.modules[name]


def write(path, text):
    path.write_text(dedent(text), encoding="utf-8")
    return path


def suite(tmp_path, rest, backbone=CNN):
    text = dedent(TINY).format(backbone=backbone) + dedent(rest)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    return tmp_path / "mine.toml"


def run(path):
    rows = bench.run(path, path.parent / "out", jobs=0)
    assert list(rows.status) == ["ok"] * len(rows), list(rows.error)
    return rows


# Plug-in files


TASK = '''
import bench
import numpy as np

@bench.task("stripes", version=1)
def stripes(root):
    """Horizontal and vertical stripes."""
    y = np.arange(100) % 2
    across = np.tile([0, 255], 4).astype(np.uint8) * np.ones((8, 1), np.uint8)
    return bench.Task(np.stack([across if k else across.T for k in y])[:, None], y, classes=["down", "across"])
'''


def test_a_task_in_ten_lines_runs_in_a_suite(tmp_path):
    assert len(TASK.strip().splitlines()) <= 10
    write(tmp_path / "stripes.py", TASK)
    path = suite(
        tmp_path,
        """
        plugins = ["stripes.py"]
        [tasks]
        turned = { task = "stripes", rotation = 90 }
        [[pairs]]
        target = "stripes"
        source = "turned"
        """,
    )
    rows = run(path)
    assert set(rows.strategy) == {"scratch", "feature-extraction"}
    assert set(rows.target) == {"stripes"}


def test_every_kind_of_thing_in_one_file(tmp_path):
    write(
        tmp_path / "kit.py",
        """
        import torch
        import bench
        from bench.backbones.base import Backbone

        @bench.backbone("two-lines", depth=lambda width=4: 2)
        def two_lines(shape, *, width=4):
            first = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[0] * shape[1] * shape[2], width))
            return Backbone({"one": first, "two": torch.nn.Linear(width, width)}, width)

        @bench.strategy("top-first")
        def top_first(depth, *, share=0.5):
            path = (bench.Phase(depth, share), bench.Phase(0, 1 - share))
            yield bench.Strategy("top-first", depth, path)

        @bench.change("darken")
        def darken(task, rng, factor=0.5):
            return task.changed(x=(task.x * factor).astype(task.x.dtype))

        @bench.measure("brightness")
        def brightness(view):
            return float(view.source.x.mean() - view.target.x.mean())
        """,
    )
    path = tmp_path / "mine.toml"
    write(
        path,
        """
        plugins      = ["kit.py"]
        backbones    = [{ backbone = "two-lines", width = 5 }]
        strategies   = [{ strategy = "top-first", share = 0.25 }]
        measures     = ["brightness"]
        target_sizes = [20]
        seeds        = 1
        image_size   = 8
        recipe        = { steps = 4, checkpoints = 1, learning_rates = [0.1] }
        source_recipe = { steps = 3, checkpoints = 1 }
        [tasks]
        dark = { task = "digits", darken = 0.25 }
        [[pairs]]
        target = "digits"
        source = "dark"
        """,
    )
    rows = run(path)
    (transfer,) = rows[rows.strategy == "top-first"].itertuples()
    assert (transfer.backbone, transfer.transfer_depth, transfer.frozen_depth) == ("two-lines", 2, 0)
    assert transfer.trainable_parameters == 64 * 5 + 5 + 5 * 5 + 5 + 5 * 10 + 10
    light = bench.registry.TASKS.get("digits").function(tmp_path).x.mean()
    assert transfer.brightness == pytest.approx(-0.75 * light, rel=0.05)


def test_a_plugin_of_another_folder_and_twice_is_one(tmp_path):
    write(tmp_path / "stripes.py", TASK)
    (tmp_path / "deeper").mkdir()
    load_plugin(tmp_path / "stripes.py")
    load_plugin(tmp_path / "deeper" / ".." / "stripes.py")
    least = {"target_sizes": [20], "pairs": [{"target": "stripes", "source": "noise"}]}
    loaded = load_suite(least, plugins=(str(tmp_path / "stripes.py"),))
    assert loaded.plugins == (str(tmp_path / "stripes.py"),)  # kept, so that workers load it too


def test_what_a_plugin_raises_has_its_file_and_line(tmp_path):
    path = write(tmp_path / "broken.py", "import bench\n\nx = {}\nbench.task(x['name'])\n")
    with pytest.raises(DataError) as error:
        load_plugin(path)
    assert str(error.value) == f"plug-in {path}, line 4: KeyError: 'name'"
    path = write(tmp_path / "unfinished.py", "import bench\ndef f(:\n")
    with pytest.raises(DataError, match=rf"plug-in {path}, line 2: SyntaxError"):
        load_plugin(path)
    path = write(tmp_path / "leaving.py", "import sys\nsys.exit(3)\n")
    with pytest.raises(DataError, match=rf"plug-in {path}, line 2: SystemExit"):
        load_plugin(path)
    write(tmp_path / "broken.py", TASK)  # mended, it can be loaded
    load_plugin(tmp_path / "broken.py")
    assert "stripes" in TASKS


def test_a_taken_name_is_refused(tmp_path):
    for name, text in (("one", TASK), ("two", TASK), ("three", TASK.replace("stripes", "digits"))):
        write(tmp_path / f"{name}.py", text)
    load_plugin(tmp_path / "one.py")
    with pytest.raises(BenchError, match=r'the task name "stripes" is already taken; choose another'):
        load_plugin(tmp_path / "two.py")
    with pytest.raises(BenchError, match=r'the task name "digits" is already taken'):
        load_plugin(tmp_path / "three.py")
    assert TASKS.get("digits").function.__module__ == "bench.tasks.digits"


def test_what_a_task_returns_is_checked_before_anything_trains(tmp_path):
    write(tmp_path / "odd.py", 'import bench\n@bench.task("odd")\ndef odd(root):\n    return [1, 2]\n')
    path = suite(tmp_path, 'plugins = ["odd.py"]\n[[pairs]]\ntarget = "digits"\nsource = "odd"\n')
    with pytest.raises(SuiteError, match='task "odd" returned list, not a'):
        bench.run(path, tmp_path / "out", jobs=0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {}['k']", r"task \"odd\": KeyError: 'k' \(.*odd.py, line 4\)"),
        ("open('/nowhere/x.csv')", r"FileNotFoundError: .* '/nowhere/x.csv' \(.*odd.py, line 4\)"),
        ("raise SystemExit(0)", r"SystemExit: 0 \(.*odd.py, line 4\)"),
    ],
)
def test_whatever_a_task_raises_is_one_message_with_its_line(tmp_path, body, said):
    write(tmp_path / "odd.py", f"import bench\n@bench.task('odd')\ndef odd(root):\n    {body}\n")
    path = suite(tmp_path, 'plugins = ["odd.py"]\n[[pairs]]\ntarget = "digits"\nsource = "odd"\n')
    with pytest.raises(SuiteError, match=said):
        bench.run(path, tmp_path / "out", jobs=0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*odd.py, line 4\)"),
        ("return {}['k']", r"KeyError: 'k' \(.*odd.py, line 4\)"),
        ("return None", "'NoneType' object is not iterable"),
        ("return [1, 2]", "yields 1, not a bench.Strategy"),
        ("yield bench.point('odd', depth + 1, 0)", "transfer depth 3 is more than the backbone's 2 blocks"),
        ("yield bench.point('odd', 1, 2)", "frozen depth 2 is not within"),
        ("yield bench.point('odd', '1', '1')", "must be an int .*, got '1'"),
        ("yield bench.point(None, 1, 1)", "name must be text, got None"),
        ("yield bench.point('odd', 1, 1, steps=float('nan'))", "must be finite numbers, got nan"),
        ("yield bench.Strategy('odd', 1, (1,))", "path must hold bench.Phase objects"),
    ],
)
def test_what_a_strategy_yields_is_checked_with_the_suite(tmp_path, body, said):
    write(tmp_path / "odd.py", f"import bench\n@bench.strategy('odd')\ndef odd(depth):\n    {body}\n")
    text = 'plugins = ["odd.py"]\n[[pairs]]\ntarget = "digits"\nsource = "noise"\n'
    path = suite(tmp_path, text)
    path.write_text(path.read_text().replace('"feature-extraction"', '"odd"'))
    with pytest.raises(SuiteError, match=rf"strategies\[0\] .*: .*{said}"):
        load_suite(path)


@pytest.mark.parametrize(
    ("depth", "returned", "said"),
    [
        (3, "Backbone({'b1': block}, 5)", 'backbone "odd" has 1 blocks, but was declared with 3'),
        (1, "None", 'backbone "odd" returned NoneType, not a Backbone'),
        (1, "[]", 'backbone "odd" returned an empty list, not a Backbone, a torch.nn.Sequential or a list of modules'),
        (1, "torch.nn.Sequential(torch.nn.Flatten())", 'backbone "odd" returned modules without weights'),
        (1, "torch.nn.Sequential(torch.nn.Linear(3, 5))", r"through block b1: .*shapes cannot be multiplied"),
        (1, "[torch.nn.Conv2d(1, 4, 3)]", r"returns features of shape \('N', 4, 6, 6\), not \(N, width\): end with"),
        (1, "Backbone({'b1': block}, 7)", "shapes cannot be multiplied"),
    ],
)
def test_what_a_backbone_returns_is_checked_before_anything_trains(tmp_path, depth, returned, said):
    write(
        tmp_path / "odd.py",
        f"""
        import torch
        import bench
        from bench.backbones.base import Backbone

        @bench.backbone("odd", depth={depth})
        def odd(shape):
            block = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
            return {returned}
        """,
    )
    path = suite(tmp_path, 'plugins = ["odd.py"]\n[[pairs]]\ntarget = "digits"\nsource = "noise"\n', '"odd"')
    path.write_text(path.read_text().replace('"feature-extraction"', '{ name = "all", transfer = "all", freeze = 0 }'))
    with pytest.raises(SuiteError, match=said):
        bench.run(path, tmp_path / "out", jobs=0)


@pytest.mark.parametrize("name", ["seed", "test-accuracy", "ntg"])
def test_a_measure_never_overwrites_another_column(tmp_path, name):
    write(tmp_path / "odd.py", f"import bench\n@bench.measure('{name}')\ndef odd(view):\n    return 1.0\n")
    said = "begins like the columns of scores" if name.startswith("test-") else "is that of another column"
    with pytest.raises(BenchError, match=rf'odd.py, line 2: the measure name "{name}" {said}'):
        load_plugin(tmp_path / "odd.py")


# Packages


def package(folder, name, code, point="mine"):
    """Lay a package on the path as an installed one that announces itself."""
    (folder / name).mkdir(parents=True)
    write(folder / name / "__init__.py", code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ntbench.plugins]\n{point} = {name}\n")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of installed packages."""
    from bench import registry

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(registry, "_loaded_packages", set())
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def test_a_package_announces_itself_by_an_entry_point(tmp_path, installed):
    package(installed, "striped_tasks", TASK)
    rows = run(suite(tmp_path, '[[pairs]]\ntarget = "stripes"\nsource = "digits"\n'))
    assert set(rows.target) == {"stripes"}
    assert "stripes" in TASKS.names()


def test_a_package_that_cannot_be_imported_is_named(tmp_path, installed):
    package(installed, "broken_tasks", "raise RuntimeError('no such disk')\n", point="broken")
    path = suite(tmp_path, '[[pairs]]\ntarget = "stripes"\nsource = "digits"\n')
    for _ in range(2):  # said again, not forgotten
        with pytest.raises(BenchError, match=r'plug-in package "broken" \(broken_tasks\): RuntimeError: no such disk'):
            load_suite(path)


# No Python


def test_folders_of_images_run_without_python(tmp_path):
    rng = np.random.default_rng(0)
    for part, shift in (("wards", 0), ("clinic", 40)):
        for number, name in enumerate(("ill", "well")):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for k in range(25):
                pixels = np.clip(rng.normal(60 + 80 * number + shift, 20, (9, 11)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{k}.png")
    path = suite(
        tmp_path,
        """
        [tasks]
        wards  = { folder = "data/wards", image_size = 8 }
        clinic = { folder = "data/clinic", image_size = 10 }
        [[pairs]]
        target = "wards"
        source = "clinic"
        """,
    )
    rows = run(path)
    assert len(rows) == 2
    assert set(rows.n_test) == {15}  # 30 % of 50


def test_an_npz_pair_runs_without_python(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (("near", 60), ("far", 80)):
        y = np.arange(n) % 3
        np.savez(tmp_path / f"{name}.npz", x=rng.normal(y[:, None], 0.3, (n, 5)).astype(np.float32), y=y)
    path = suite(
        tmp_path,
        """
        [tasks]
        near = { npz = "near.npz" }
        far  = { npz = "far.npz" }
        [[pairs]]
        target = "near"
        source = "far"
        """,
        backbone=MLP,
    )
    assert len(run(path)) == 2


def test_a_csv_pair_runs_without_python(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("spring", "autumn"):
        lines = [f"{rng.normal(k % 2):.3f},{rng.normal():.3f},{'yes' if k % 2 else 'no'}" for k in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["height,width,label", *lines]))
    path = suite(
        tmp_path,
        """
        [tasks]
        spring = { table = "spring.csv" }
        autumn = { table = "autumn.csv" }
        [[pairs]]
        target = "spring"
        source = "autumn"
        """,
        backbone=MLP,
    )
    rows = run(path)
    assert len(rows) == 2
    (tmp_path / "moved").mkdir()
    for name in ("spring.csv", "autumn.csv", "mine.toml"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert sorted(run(tmp_path / "moved" / "mine.toml").key) == sorted(rows.key)


def test_tables_whose_columns_differ_are_refused_before_anything_trains(tmp_path):
    for name, columns in (("a", "p,q,label"), ("b", "p,q,r,label")):
        n = columns.count(",")
        rows = [",".join(["1.5"] * n + ["yes" if k % 2 else "no"]) for k in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join([columns, *rows]))
    tables = '[tasks]\na = { table = "a.csv" }\nb = { table = "b.csv" }\n[[pairs]]\ntarget = "a"\nsource = "b"\n'
    with pytest.raises(SuiteError, match="pair b -> a: The source has 3 columns and the target 2"):
        bench.run(suite(tmp_path, tables, backbone=MLP), tmp_path / "out", jobs=0)
    assert not (tmp_path / "out" / "sources").exists()


# Token ids


WORDS = """
from torch import nn
import bench

@bench.backbone("bag", integers=True)
def bag(shape, *, vocabulary=50, width=8):
    return [nn.Embedding(vocabulary, width), nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * width, width), nn.ReLU())]

@bench.task("words")
def words(root, *, shift=0):
    rng = bench.generator("words", shift)
    y = rng.integers(0, 2, 200)
    return bench.Task(rng.integers(0, 4, (200, 6)) + 4 * y[:, None] + shift, y, ["low", "high"])
"""
WORDS_SUITE = """
    plugins       = ["words.py"]
    backbones     = [{backbones}]
    strategies    = ["zero-shot", "feature-extraction", "fine-tune", "layer-transfer"]
    target_sizes  = [20]
    seeds         = 1
    recipe        = {{ steps = 30, checkpoints = 1, learning_rates = [0.3] }}
    source_recipe = {{ steps = 100, checkpoints = 1 }}
    [tasks]
    moved   = {{ task = "words", shift = 1{change} }}
    numbers = "moons"
    [[pairs]]
    target = "words"
    source = "moved"
"""


def words_suite(tmp_path, backbones='"bag"', change=""):
    write(tmp_path / "words.py", WORDS)
    return write(tmp_path / "mine.toml", dedent(WORDS_SUITE).format(backbones=backbones, change=change))


def test_token_ids_go_through_every_strategy_and_measure(tmp_path):
    rows = run(words_suite(tmp_path))
    best = rows.set_index(["strategy", "transfer_depth", "frozen_depth"]).test_accuracy
    assert set(rows.strategy) == {"scratch", "zero-shot", "feature-extraction", "fine-tune", "layer-transfer"}
    assert best["zero-shot", 2, 2] > 0.8  # the source's embedding tells low from high
    assert best["feature-extraction", 2, 2] > 0.8
    assert rows[rows.source == "moved"].frechet_distance.notna().all()


@pytest.mark.parametrize(
    ("backbones", "change", "said"),
    [
        ('"bag", "mlp"', "", 'target "words": backbone "mlp" takes numbers, the inputs are token ids'),
        ('{ backbone = "bag", vocabulary = 8 }', "", "cannot take the token ids, which go up to 8"),
        ('"bag"', ", input_noise = 0.1", "input_noise: needs images or a table of numbers; task holds token ids"),
        ('"bag"', ", rotation = 90", "rotation: needs images or a table of numbers"),
    ],
)
def test_what_token_ids_cannot_do_is_said_before_anything_trains(tmp_path, backbones, change, said):
    with pytest.raises(SuiteError, match=said):
        bench.run(words_suite(tmp_path, backbones, change), tmp_path / "out", jobs=0)
    assert not list((tmp_path / "out" / "sources").glob("*"))


def test_numbers_and_token_ids_make_no_pair(tmp_path):
    path = words_suite(tmp_path)
    path.write_text(path.read_text().replace('source = "moved"', 'source = "numbers"'))
    with pytest.raises(SuiteError, match="pair numbers -> words: the source's inputs are numbers, the target's token"):
        bench.run(path, tmp_path / "out", jobs=0)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("[[0, -1]] * 20", "token ids must be 0 or more, got -1"),
        ("np.zeros((20, 1, 4, 4), int)", r"token ids integers of shape N x T; got int64 of shape \(20, 1, 4, 4\)"),
    ],
)
def test_integers_that_are_no_token_ids_are_refused(x, said):
    with pytest.raises(DataError, match=said):
        bench.Task(eval(x, {"np": np}), np.arange(20) % 2, ["a", "b"])
    kept = bench.Task(np.arange(40, dtype=np.uint16).reshape(20, 2), np.arange(20) % 2, ["a", "b"])
    assert (kept.x.dtype, kept.vocabulary) == (np.int64, 40)


# Plug-ins that change


def rows_of(capfd, *arguments):
    from bench.cli import main

    capfd.readouterr()
    with pytest.raises(SystemExit) as done:
        main([str(argument) for argument in arguments])
    return done.value.code, *capfd.readouterr()


def forget():
    """Load plug-ins anew, as another process would."""
    for name in [name for name in sys.modules if name.startswith("ntbench_plugin_")]:
        del sys.modules[name]
    del TASKS._entries["stripes"]


CHANGED = "plug-in stripes.py has changed since its rows were made; raise version=... in its decorator"
CLOSED = "it uses the plug-in stripes.py, and plug-ins recorded in a run folder are not executed; pass --plugin FILE"


def test_a_plug_in_that_was_edited_since_its_rows_were_made_is_noticed(tmp_path, capfd):
    plugin = write(tmp_path / "stripes.py", TASK)
    path = suite(tmp_path, 'plugins = ["stripes.py"]\n[[pairs]]\ntarget = "stripes"\nsource = "digits"\n')
    out = tmp_path / "out"
    run_it = ("run", path, "--out", out, "--jobs", 0, "--device", "cpu")
    assert CHANGED not in rows_of(capfd, *run_it)[2]
    forget()
    code, table, err = rows_of(capfd, "table", out)
    assert (code, CLOSED in err, CHANGED in err) == (0, True, False)
    assert "digits" in table  # judged by what is stored
    plugin.write_text(TASK + "# a word more\n")
    for verb in (run_it, run_it, ("table", out), ("status", out), ("report", out)):  # running changes nothing in that
        code, _, err = rows_of(capfd, *verb)
        assert (code, CHANGED in err) == (0, True), verb
        if "stripes" in TASKS._entries:
            forget()
    plugin.write_text(TASK.replace("version=1", "version=2"))
    rows_of(capfd, *run_it)  # makes the rows again
    for verb in (run_it, ("table", out), ("table", out, "--plugin", plugin), ("status", out)):
        assert CHANGED not in rows_of(capfd, *verb)[2], verb
