"""Reading suites: what they may say, and what is said of every kind of mistake, with its place and line."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.api import with_seeds
from bench.errors import BenchError, DataError, SuiteError
from bench.registry import BACKBONES, CHANGES, STRATEGIES, TASKS
from bench.suite import Pairs, Plan, Suite, load_suite, parse_seeds

LEAST = {"target_sizes": [20], "pairs": [{"target": "digits", "source": "noise"}]}


def problems(changes, *, bare=False):
    """What is said of a suite that is sound but for `changes`, one line a problem."""
    with pytest.raises(SuiteError) as error:
        load_suite(changes if bare else {**LEAST, **changes})
    return [str(problem) for problem in error.value.problems]


def only(changes):
    (one,) = problems(changes)
    return one


def write(tmp_path, text, name="one.toml"):
    path = tmp_path / name
    path.write_text(dedent(text), encoding="utf-8")
    return path


# What may stand there


def test_what_is_not_said_has_a_default(tmp_path):
    path = write(
        tmp_path,
        """
        target_sizes = [20]
        [[pairs]]
        target = "digits"
        source = "noise"
        """,
    )
    suite = load_suite(path)
    assert suite.name == "one"
    assert suite.folder == str(tmp_path.resolve())
    assert suite.backbones == ("cnn",)
    assert suite.strategies == ("feature-extraction", "fine-tune")
    assert suite.seeds == tuple(range(10))
    assert suite.weighting == ("uniform",)
    assert suite.measures == ("proxy-a-distance", "frechet-distance", "leep")
    assert suite.recipe.validation_label == "cut 0.2"
    assert suite.source_recipe.steps > suite.recipe.steps
    assert suite.statistics.margin == 0.01


@pytest.mark.parametrize(
    ("said", "meant"),
    [(3, (0, 1, 2)), ([0, 3], (0, 3)), ("0-3", (0, 1, 2, 3)), ("4", (4,)), ("0, 2, 5-6", (0, 2, 5, 6))],
)
def test_seeds_are_a_count_a_list_or_a_range(said, meant):
    assert load_suite({**LEAST, "seeds": said}).seeds == meant


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (0, "at least one is needed"),
        ([], "at least one seed is needed"),
        (-2, "at least one is needed"),
        ([-1], "greater than or equal to 0"),
        (True, "a count, a list of integers or a range"),
        ("3-1", '"3-1" is not an increasing range'),
        ("x", '"x" is neither a seed nor a range'),
        (10**12, "at most 1,000,000 are possible"),
        (f"0-{10**12}", "at most 1,000,000 seeds"),
        ([1.5], "got 1.5"),
        ([2**63], "less than or equal to 9223372036854775807"),
        (f"{2**63}", "the largest seed"),
    ],
)
def test_seeds_that_cannot_be(said, message):
    one = only({"seeds": said})
    assert one.startswith("seeds")
    assert message in one


@pytest.mark.parametrize("seeds", [0, [], [-1], [2**63], "5-2"])
def test_other_seeds_are_checked_too(seeds):
    with pytest.raises(ValueError, match=r"at least one is needed|not an increasing range"):
        with_seeds(load_suite(LEAST), seeds)


def test_a_range_of_seeds_has_each_once():
    assert parse_seeds("0-2,1-3") == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (0, "at least 1"),
        (-5, "at least 1"),
        (2.5, 'a number of examples in all, "5 per class" or "all"'),
        (True, '"5 per class" or "all"'),
        ("five", '"five" is not a size'),
        ("0 per class", '"0 per class" is not a size'),
        ("5 a class", '"5 a class" is not a size'),
    ],
)
def test_sizes_that_cannot_be(said, message):
    one = only({"target_sizes": [20, said]})
    assert one.startswith("target_sizes[1]")
    assert message in one


@pytest.mark.parametrize("said", ["5 per class", "5/class", " 5 per  class "])
def test_sizes_are_said_in_all_or_per_class(said):
    suite = load_suite({**LEAST, "target_sizes": [said, 20]})
    assert Plan(suite).sizes("digits") == [50, 20]


def test_a_size_that_only_the_data_tell_is_not_guessed():
    assert Plan(load_suite({**LEAST, "target_sizes": ["all"]})).sizes("digits") == [0]


def test_source_and_sources_are_one_thing_in_two_forms():
    one = load_suite({**LEAST, "pairs": [{"target": "digits", "source": "noise"}]})
    many = load_suite({**LEAST, "pairs": [{"target": "digits", "sources": ["noise", "noise"]}]})
    assert Plan(one).targets == Plan(many).targets == {"digits": ["noise"]}
    for wrong in ({"target": "digits"}, {"target": "digits", "source": "noise", "sources": ["patches"]}):
        assert 'give either source = "..." or sources' in only({"pairs": [wrong]})


def test_pairs_of_one_target_add_up():
    pairs = [{"target": "digits", "sources": ["noise", "patches"]}, {"target": "digits", "source": "patches"}]
    assert Plan(load_suite({**LEAST, "pairs": pairs})).targets == {"digits": ["noise", "patches"]}


@pytest.mark.parametrize(
    ("table", "base", "arguments"),
    [
        ({"folder": "x", "image_size": 64}, "image-folder", {"path": "DIR/x", "image_size": 64}),
        ({"npz": "a/b.npz"}, "npz", {"path": "DIR/a/b.npz"}),
        ({"table": "t.csv", "label": "y"}, "table", {"path": "DIR/t.csv", "label": "y"}),
        ({"task": "image-folder", "path": "x"}, "image-folder", {"path": "DIR/x"}),
        ("moons", "moons", {}),
        ({"npz": "~nobody-at-all/b.npz"}, "npz", {"path": "DIR/~nobody-at-all/b.npz"}),
    ],
)
def test_own_data_are_short_to_say_and_relative_to_the_suite(tmp_path, table, base, arguments):
    suite = load_suite({**LEAST, "folder": str(tmp_path), "tasks": {"mine": table}, "pairs": [pair("mine")]})
    spec = Plan(suite).tasks["mine"]
    assert spec.base == base
    assert dict(spec.arguments) == {
        k: v.replace("DIR", str(tmp_path)) if isinstance(v, str) else v for k, v in arguments.items()
    }


def pair(source, target="digits"):
    return {"target": target, "source": source}


def test_changes_are_read_in_the_order_written():
    table = {"task": "printed-digits", "inversion": True, "n": 50, "label_noise": 0.5, "blur": False}
    table |= {"mix": {"task": "noise", "share": 0.2}}
    spec = Plan(load_suite({**LEAST, "tasks": {"mine": table}, "pairs": [pair("mine")]})).tasks["mine"]
    assert spec.arguments == {"n": 50}
    assert [name for name, _ in spec.changes] == ["inversion", "label_noise", "mix"]
    (_, noise), (_, mix) = spec.changes[1:]
    assert noise == {"rate": 0.5}
    assert mix["task"].base == "noise"


def test_a_mixed_in_task_may_be_a_table_a_name_or_another_of_the_suites():
    def spec(task):
        tasks = {"mine": {"task": "digits", "mix": {"task": task, "share": 0.2}}, "other": {"task": "noise", "n": 60}}
        return Plan(load_suite({**LEAST, "tasks": tasks, "pairs": [pair("mine", "printed-digits")]})).tasks["mine"]

    inline, named = spec({"task": "noise", "n": 60}), spec("other")
    assert inline.digest == named.digest
    assert inline.digest != spec("noise").digest


def test_tasks_build_on_tasks():
    tasks = {"a": {"task": "printed-digits", "n": 60}, "b": {"task": "a", "inversion": True}, "c": {"task": "b"}}
    specs = Plan(load_suite({**LEAST, "tasks": tasks, "pairs": [pair("c")]})).tasks
    assert specs["c"].parent.parent.base == "printed-digits"
    assert specs["c"].parent.parent.arguments == {"n": 60}


def test_a_registered_name_may_be_redefined_from_itself():
    tasks = {"digits": {"task": "digits", "rotation": 90}}
    spec = Plan(load_suite({**LEAST, "tasks": tasks})).tasks["digits"]
    assert (spec.base, [name for name, _ in spec.changes]) == ("digits", ["rotation"])


def test_a_suite_in_python_is_the_suite_in_toml(tmp_path):
    path = write(
        tmp_path,
        """
        backbones    = ["cnn", { backbone = "mlp", widths = [32], name = "small" }]
        strategies   = ["fine-tune", { name = "half", transfer = 1, freeze = 1 }]
        target_sizes = [20, "5 per class"]
        seeds        = "0-2"
        [tasks]
        noisy = { task = "printed-digits", label_noise = 0.4 }
        [[pairs]]
        target  = "digits"
        sources = ["noisy", "printed-digits"]
        [recipe]
        steps = 50
        """,
    )
    built = Suite(
        name="one",
        backbones=("cnn", {"backbone": "mlp", "widths": [32], "name": "small"}),
        strategies=("fine-tune", {"name": "half", "transfer": 1, "freeze": 1}),
        target_sizes=(20, "5 per class"),
        seeds=(0, 1, 2),
        tasks={"noisy": {"task": "printed-digits", "label_noise": 0.4}},
        pairs=(Pairs(target="digits", sources=("noisy", "printed-digits")),),
        recipe={"steps": 50},
        folder=str(tmp_path.resolve()),
    )
    assert load_suite(path) == load_suite(built) == built


# Handed-in weights

SGD_RATES = (0.01, 0.03, 0.1)


def handed_in(tmp_path, **changes):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    models = {"mine": {"state_dict": str(tmp_path / "mine.pt")}}
    return load_suite({**LEAST, "models": models, "pairs": [{"target": "digits", "source": "mine"}], **changes})


def test_handed_in_weights_have_a_recipe_that_does_not_blow_them_up(tmp_path):
    recipe = handed_in(tmp_path).recipe
    assert (recipe.optimizer, recipe.warmup, recipe.clip_norm) == ("adamw", 0.1, 1.0)
    assert len(recipe.learning_rates) >= 3
    assert handed_in(tmp_path).source_recipe == load_suite(LEAST).source_recipe
    plain = load_suite(LEAST).recipe
    assert (plain.optimizer, plain.learning_rates, plain.warmup, plain.clip_norm) == ("sgd", SGD_RATES, 0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"steps": 50}, {"steps": 50, "optimizer": "adamw", "clip_norm": 1.0}),
        ({"learning_rates": [0.02]}, {"learning_rates": (0.02,), "optimizer": "adamw"}),
        ({"optimizer": "sgd"}, {"optimizer": "sgd", "learning_rates": SGD_RATES, "warmup": 0.1, "clip_norm": 1.0}),
        ({"optimizer": "sgd", "learning_rates": [0.5]}, {"optimizer": "sgd", "learning_rates": (0.5,)}),
        ({"warmup": 0, "clip_norm": 0}, {"warmup": 0.0, "clip_norm": 0.0, "optimizer": "adamw"}),
    ],
    ids=str,
)
def test_a_recipe_that_says_a_key_keeps_it_beside_handed_in_weights(tmp_path, said, meant):
    recipe = handed_in(tmp_path, recipe=said).recipe
    assert {name: getattr(recipe, name) for name in meant} == meant


def test_a_run_folder_keeps_the_recipe_that_its_rows_were_made_with(tmp_path):
    suite = handed_in(tmp_path)
    stored = suite.to_run(tmp_path / "run")
    assert Suite.from_run(stored, tmp_path / "run").recipe == suite.recipe
    # As an earlier version wrote it, which had neither key.
    plain = load_suite(LEAST).recipe.model_dump(mode="json")
    stored["recipe"] = {name: value for name, value in plain.items() if name not in ("warmup", "clip_norm")}
    assert Suite.from_run(stored, tmp_path / "run").recipe == load_suite(LEAST).recipe


# Mistakes


def test_five_mistakes_are_five_messages_each_with_its_line(tmp_path):
    path = write(
        tmp_path,
        """
        backbones    = ["cnnn"]
        strategies   = ["fine-tune", "fine-tuna"]
        target_sizes = [20]
        measures     = ["leap"]
        [tasks]
        noisy = { task = "printed-digits", label_nois = 0.4 }
        [[pairs]]
        target  = "digitz"
        sources = ["noisy"]
        """,
    )
    with pytest.raises(SuiteError) as error:
        load_suite(path)
    said = [str(problem) for problem in error.value.problems]
    assert said == [
        'backbones[0] (line 2): unknown backbone "cnnn"; did you mean "cnn"?',
        'strategies[1] (line 3): unknown strategy "fine-tuna"; did you mean "fine-tune"?',
        'pairs[0].target (line 9): unknown task "digitz"; did you mean "digits"?',
        'tasks.noisy (line 7): "label_nois" is neither an argument of "printed-digits" nor a change; '
        'did you mean "label_noise"?',
        'measures[0] (line 5): unknown measure "leap"; did you mean "leep"?',
    ]
    assert str(error.value).startswith(f"{path}: 5 problems\n  backbones[0]")


LAID_OUT = """\
strategies   = [
  "fine-tune",   # all
  { strategy = "fine-tune", depths = [0] },
  { name = "mine", transfer = 99 },
]
target_sizes = [20]
[[pairs]]
target = "digits"
source = "mine"
[tasks.mine]
task  = "printed-digits"
label_noise = { rate = 0.1, knd = "all" }
[[pairs]]
source = "digits"
target = "noize"
[recipe]
steps = "all"
"""


def test_lines_are_those_of_the_place_wherever_else_the_words_stand(tmp_path):
    with pytest.raises(SuiteError) as error:
        load_suite(write(tmp_path, LAID_OUT))
    assert [problem.place for problem in error.value.problems] == [
        "recipe.steps (line 17)",
        "strategies[2] (line 4)",
        "tasks.mine.label_noise (line 12)",
        "pairs[1].target (line 15)",
    ]


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"strategie": ["fine-tune"]}, "strategie", 'unknown key "strategie"; did you mean "strategies"?'),
        ({"recipe": {"step": 5}}, "recipe.step", 'unknown key "step"; did you mean "steps"?'),
        ({"source_recipe": {"zzz": 5}}, "source_recipe.zzz", 'unknown key "zzz"; allowed: steps, batch_size'),
        ({"statistics": {"alfa": 5}}, "statistics.alfa", 'did you mean "alpha"?'),
        ({"pairs": [{"target": "digits", "surce": "noise"}]}, "pairs[0].surce", 'did you mean "source"?'),
        ({"strategies": [{"name": "x", "transfer": 1, "freez": 1}]}, "strategies[0]", 'did you mean "freeze"?'),
        ({"strategies": [{"strategy": "fine-tune", "depth": [1]}]}, "strategies[0]", 'did you mean "depths"?'),
        ({"strategies": [{"name": "x", "transfer": 1, "path": [{"feeze": 1}]}]}, "strategies[0]", '"freeze"?'),
        ({"backbones": [{"backbone": "cnn", "chanels": [4]}]}, "backbones[0]", 'did you mean "channels"?'),
        ({"tasks": {"a": {"task": "digits", "label_noise": {"rat": 0.1}}}}, "tasks.a.label_noise", '"rate"?'),
        ({"models": {"m": {"state_dikt": "x"}}}, "models.m", 'did you mean "state_dict"?'),
    ],
)
def test_unknown_keys_at_every_level(changes, place, message):
    assert any(one.startswith(place) and message in one for one in problems(changes))


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"name": "a b"}, "name", "got 'a b'"),
        ({"backbones": []}, "backbones", "at least 1 item"),
        ({"backbones": [{"name": "x"}]}, "backbones[0]", 'say which: backbone = "..."'),
        ({"backbones": [{"backbone": "cnn", "name": 3}]}, "backbones[0]", "name = 3 is not text"),
        ({"backbones": [{"backbone": "cnn", "channels": [-1]}]}, "backbones[0]", "channels"),
        ({"backbones": [{"backbone": "resnet18", "weights": "DEFAULT"}]}, "backbones[0]", "under [models]"),
        ({"backbones": ["cnn", {"backbone": "mlp", "name": "cnn"}]}, "backbones[1]", 'two backbones are called "cnn"'),
        ({"backbones": ["cnn", "cnn"]}, "backbones[1]", 'two backbones are called "cnn"'),
        ({"weighting": ["uniform", "uniform"]}, "weighting", "duplicate value uniform"),
        ({"target_sizes": [20, 20]}, "target_sizes", "duplicate value 20"),
        ({"image_size": "16"}, "image_size", "got '16'"),
        ({"image_size": 1}, "image_size", "greater than or equal to 2"),
        ({"source_models": 0}, "source_models", "greater than or equal to 1"),
        ({"weighting": ["unifrom"]}, "weighting[0]", 'did you mean "uniform"?'),
        ({"recipe": {"steps": 2.5}}, "recipe.steps", "got 2.5"),
        ({"recipe": {"learning_rates": []}}, "recipe.learning_rates", "at least 1 item"),
        ({"recipe": {"learning_rates": [0.1, -1]}}, "recipe.learning_rates[1]", "greater than 0"),
        ({"recipe": {"learning_rates": [float("nan")]}}, "recipe.learning_rates[0]", "nan"),
        ({"recipe": {"optimizer": "adamm"}}, "recipe.optimizer", "'sgd', 'adam' or 'adamw'"),
        ({"recipe": {"steps": 2}}, "recipe", "checkpoints = 5 is more than steps = 2"),
        ({"recipe": {"validation": "extra"}}, "recipe", 'validation_size belongs to validation = "extra"'),
        ({"recipe": {"validation_size": 20}}, "recipe", 'validation_size belongs to validation = "extra"'),
        ({"recipe": {"validation_share": 1.0}}, "recipe.validation_share", "less than 1"),
        ({"statistics": {"test": "z"}}, "statistics.test", "'t', 'sign-flip' or 'auto'"),
        ({"strategies": [{"transfer": 1}]}, "strategies[0]", 'a strategy of your own needs "name"'),
        ({"strategies": [{"name": "x"}]}, "strategies[0]", 'needs "transfer"'),
        ({"strategies": [{"name": "x", "transfer": 9}]}, "strategies[0]", "transfer = 9 is not within 0 to 4"),
        ({"strategies": [{"name": "x", "transfer": 1, "freeze": 2}]}, "strategies[0]", "not within 0 <= f <= n = 1"),
        ({"strategies": [{"name": "x", "transfer": 1, "steps": "4"}]}, "strategies[0]", "steps = '4' is not a number"),
        ({"strategies": [{"name": "x", "transfer": 1, "path": "all"}]}, "strategies[0]", "a list of tables"),
        ({"strategies": [{"name": "x", "transfer": 1, "keep_head": 1}]}, "strategies[0]", "neither true nor false"),
        ({"strategies": [{"strategy": 3}]}, "strategies[0]", "must be text"),
        ({"strategies": [{"strategy": "fine-tune", "depths": [0, 4]}]}, "strategies[0]", "not within 0 to 3"),
        ({"tasks": {"a": {"label_noise": 0.1}}}, "tasks.a", "say which task"),
        ({"tasks": {"a": {"task": "digits", "label_noise": {}}}}, "tasks.a.label_noise", 'needs the argument "rate"'),
        ({"tasks": {"a": {"task": "printed-digits", "n": float("inf")}}}, "tasks.a", "n: a value that cannot be"),
        ({"tasks": {"digits": "noise"}, "models": {"digits": {"weights": "X"}}}, "models.digits", "is also a task"),
        ({"models": {"m": {}}}, "models.m", "give either state_dict"),
        ({"recipe": {"weight_decay": float("inf")}}, "recipe.weight_decay", "finite"),
        ({"recipe": {"warmup": 10}}, "recipe.warmup", "less than 1, got 10"),
        ({"recipe": {"warmup": -0.1}}, "recipe.warmup", "greater than or equal to 0"),
        ({"recipe": {"clip_norm": -1}}, "recipe.clip_norm", "greater than or equal to 0"),
        ({"recipe": {"warm_up": 0.1}}, "recipe.warm_up", 'did you mean "warmup"'),
        ({"strategies": ["fine-tune", 3]}, "strategies[1]", "must be text or a table, got 3"),
        ({"strategies": "fine-tune"}, "strategies", "must be a list, got 'fine-tune'"),
        ({"tasks": {"a": 1}}, "tasks.a", "must be text or a table, got 1"),
        ({"name": "a/b"}, "name", "must be letters, digits, dots"),
        ({"backbones": [{"backbone": "mlp", "widths": "x"}]}, "backbones[0]", 'backbone "mlp": widths'),
        ({"models": {"m": {"state_dict": "nowhere.pt"}}}, "models.m.state_dict", "no file at"),
        ({"models": {"m": {"state_dict": "a\0b" * 2000}}}, "models.m.state_dict", "no file at"),
        ({"models": {"m": {"weights": 3}}}, "models.m.weights", "3 is not a name"),
        ({"models": {"m": {"weights": "X", "classes": ["a", "a"]}}}, "models.m.classes", "different names"),
    ],
)
def test_values_that_cannot_be(changes, place, message):
    one = only(changes)
    assert one.startswith(place)
    assert message in one


def test_what_must_stand_there():
    assert problems({}, bare=True) == ["target_sizes: is missing", "pairs: is missing"]
    assert problems({"target_sizes": [20], "pairs": []}, bare=True)[0].startswith("pairs: ")


def test_tasks_that_are_defined_by_themselves():
    tasks = {"a": {"task": "b"}, "b": {"task": "c", "inversion": True}, "c": "a"}
    assert 'task "a" is defined by itself: a -> b -> c -> a' in only({"tasks": tasks, "pairs": [pair("a")]})
    tasks = {"a": {"task": "digits", "mix": {"task": {"task": "a"}, "share": 0.1}}}
    assert 'task "a" is defined by itself: a -> a.mix -> a' in only({"tasks": tasks})


def test_nesting_without_end():
    tasks = {f"t{i}": {"task": f"t{i + 1}"} for i in range(900)} | {"t900": "digits"}
    assert any("more than 40 tasks are nested" in one for one in problems({"tasks": tasks}))
    inline = "noise"
    for _ in range(60):
        inline = {"task": "noise", "mix": {"task": inline, "share": 0.1}}
    assert "more than 40 tasks are nested" in only({"tasks": {"a": inline}})


def test_two_strategies_of_one_name_and_place():
    own = [{"name": "x", "transfer": 2, "path": [{"freeze": 1}, {"freeze": 0}]}, {"name": "x", "transfer": 2}]
    assert 'two different strategies are called "x" with n = 2, f = 0' in only({"strategies": own})


def test_unknown_names_far_from_any_say_where_to_look():
    assert "see: ntbench list tasks" in only({"pairs": [pair("qqqqq")]})
    assert "; known: " in only({"measures": ["qqqqq"]})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a = ", "not valid TOML"), (b"\xff\xfe", "not valid TOML"), (b"a = " + b"[" * 9000, "not valid TOML")],
)
def test_files_that_are_no_suite(tmp_path, content, message):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_suite(path)


def test_a_wrong_entry_hides_no_mistake_of_another():
    tasks = {"a": 1, "b": {"task": "digist"}}
    with pytest.raises(SuiteError) as error:
        load_suite({**LEAST, "tasks": tasks, "strategies": [3, "finetune"]})
    places = [problem.place for problem in error.value.problems]
    assert sorted(places) == ["strategies[0]", "strategies[1]", "tasks.a", "tasks.b.task"]


def test_a_source_model_is_no_target(tmp_path):
    (tmp_path / "m.pt").touch()
    models = {"m": {"state_dict": str(tmp_path / "m.pt")}}
    with pytest.raises(SuiteError, match='"m" is a source model that is handed in: it can be a source only'):
        load_suite({**LEAST, "models": models, "pairs": [{"target": "m", "source": "digits"}]})


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = write(tmp_path, 'target_sizes = [20]\n[[pairs]]\ntarget = "digits"\nsource = "noise"\n')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_suite(path).target_sizes == (20,)


def test_a_suite_that_is_not_there(tmp_path):
    write(tmp_path, "", "default.toml")
    with pytest.raises(DataError, match=r'no suite at .*defalt.toml; did you mean "default.toml"'):
        load_suite(tmp_path / "defalt.toml")
    for odd in (tmp_path, "x" * 5000, "a\0b"):
        with pytest.raises(DataError, match="no suite at"):
            load_suite(odd)


@pytest.mark.parametrize("plugin", ["nowhere.py", "", "a\0b", "x" * 5000, "~nobody-at-all/x.py"])
def test_a_plugin_that_is_not_there(plugin):
    with pytest.raises(DataError, match="no plug-in file at"):
        load_suite({**LEAST, "plugins": [plugin]})


# Whatever stands there


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.sampled_from(["all", "5 per class", "0-3", "digits", "a", "cnn", "fine-tune", "uniform", "DEFAULT", ".", "\0"]),
)
KEYS = st.one_of(
    st.text(max_size=4),
    st.sampled_from(["task", "folder", "npz", "table", "name", "strategy", "backbone", "transfer", "freeze", "path"]),
    st.sampled_from(["share", "lr", "steps", "keep_head", "depths", "source", "sources", "target", "n", "weights"]),
    st.sampled_from(CHANGES.names()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


def named(key, names, extra):
    """Tables that name something known and say odd things of it."""
    return st.builds(lambda name, table: {key: name, **table}, st.sampled_from(names), extra)


ODD = st.one_of(
    st.fixed_dictionaries({"tasks": st.dictionaries(st.sampled_from("ab"), TABLES | VALUES, max_size=2)}),
    st.fixed_dictionaries(
        {"tasks": st.dictionaries(st.sampled_from("ab"), named("task", ["a", "b", *TASKS.names()], TABLES), max_size=2)}
    ),
    st.fixed_dictionaries({"strategies": st.lists(VALUES | named("strategy", STRATEGIES.names(), TABLES), max_size=2)}),
    st.fixed_dictionaries({"strategies": st.lists(named("name", ["x"], TABLES), max_size=2)}),
    st.fixed_dictionaries({"backbones": st.lists(named("backbone", BACKBONES.names()[:4], TABLES), max_size=2)}),
    st.fixed_dictionaries({"models": st.dictionaries(st.sampled_from("am"), TABLES, max_size=2)}),
    st.dictionaries(st.sampled_from(sorted(set(Suite.model_fields) - {"folder"})), VALUES, max_size=2),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=2),
)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(ODD)
def test_no_suite_whatever_gives_a_traceback(odd):
    try:
        suite = load_suite({**LEAST, "tasks": {"a": "printed-digits"}, **odd})
    except BenchError:
        return
    Plan(suite)
