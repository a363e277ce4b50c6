"""A pair's tables get one stated transform, from the suite's file to the report."""

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cli import main
from bench.errors import SuiteError
from bench.launch.data import read_data
from bench.launch.shipping import needs
from bench.ledger.stored import read_stored
from bench.registry import TASKS
from bench.report.write import write_report
from bench.suite import Plan, Selection, load_suite
from bench.trial import Group, Measurement

RECIPE = {"optimizer": "adam", "steps": 40, "learning_rates": [0.03], "early_stopping": False, "checkpoints": 1}
MOONS = {"target": {"seed": 1}, "same": {}, "far": {"translation": 2.0}}


def write_moons(folder):
    """Write the moons of the suite experiments/moons.toml, fewer of them, as a user's tables."""
    for name, arguments in MOONS.items():
        task = TASKS.get("moons").function(folder, n=200, n_test=200, **arguments)
        for end, x, y in (("", task.x, task.y), ("-test", task.x_test, task.y_test)):
            frame = pd.DataFrame(x, columns=["east", "north"]).assign(label=np.array(task.classes)[y])
            frame.to_csv(folder / f"{name}{end}.csv", index=False)


def suite_of(folder, sources=("same", "far"), tasks=None, **values):
    files = {name: {"table": f"{name}.csv", "test_path": f"{name}-test.csv"} for name in MOONS}
    return {
        "name": "moons", "folder": str(folder), "tasks": {**files, **(tasks or {})},
        "backbones": [{"backbone": "mlp", "widths": [32, 32], "name": "mlp"}], "strategies": ["zero-shot"],
        "pairs": [{"target": "target", "sources": list(sources)}], "target_sizes": [20], "seeds": 2,
        "measures": ["frechet-distance"], "recipe": RECIPE, "source_recipe": {**RECIPE, "steps": 150}, **values,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moons")
    write_moons(folder)
    return folder


def read(suite, tmp_path):
    """Read a suite's data; return its plan."""
    (tmp_path / "work").mkdir(exist_ok=True)
    suite = load_suite(suite)
    return read_data(suite, read_stored(tmp_path / "none"), tmp_path / "work", "cpu", Selection(), print, int)[0]


def zero_shot(rows, source):
    gaps = bench.negative_transfer(rows)
    return gaps[(gaps["source"] == source) & (gaps["strategy"] == "zero-shot")].iloc[0]


def test_a_shifted_table_is_far_and_harms_like_the_built_in_one(folder, tmp_path):
    built_in = {name: {"task": "moons", "n": 200, "n_test": 200, **values} for name, values in MOONS.items()}
    rows = {
        "built-in": bench.run(suite_of(folder, tasks=built_in), tmp_path / "built-in", jobs=0),
        "table": bench.run(suite_of(folder), tmp_path / "table", jobs=0),
        "each": bench.run(suite_of(folder, standardise="each"), tmp_path / "each", jobs=0),
    }
    for name in ("built-in", "table"):
        far, same = zero_shot(rows[name], "far"), zero_shot(rows[name], "same")
        assert far["frechet_distance"] > 0.5 > 0.05 > same["frechet_distance"], name
        assert far["ntg"] > 0 > same["ntg"] + 0.1, name
    far, same = zero_shot(rows["each"], "far"), zero_shot(rows["each"], "same")
    assert far["frechet_distance"] < 0.05  # its shift is gone: it passes for the same domain
    assert abs(far["ntg"] - same["ntg"]) < 0.05
    said = {name: set(found.loc[found["source"].notna(), "standardised_by"].dropna()) for name, found in rows.items()}
    assert said == {"built-in": set(), "table": {"target"}, "each": {"each"}}
    write_report(rows["table"], tmp_path / "report")
    assert (
        "standardised alike, by the train pool of the target (far, same -> target)"
        in (tmp_path / "report" / "report.md").read_text()
    )
    write_report(rows["each"], tmp_path / "report")
    assert "was erased before training" in (tmp_path / "report" / "report.md").read_text()
    write_report(rows["built-in"], tmp_path / "report")
    assert "standardised" not in (tmp_path / "report" / "report.md").read_text()


def test_show_says_which_transform_the_networks_see(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    text = f"""backbones = ["mlp"]
    target_sizes = [20]
    data_root = "{folder}"
    STANDARDISE
    tasks.target = {{ table = "{folder}/target.csv" }}
    tasks.far = {{ table = "{folder}/far.csv" }}
    [[pairs]]
    target = "target"
    source = "far"
    """
    for line, said in (
        ("", "inputs: both tables standardised by the train pool of target"),
        ('standardise = "source"', "inputs: both tables standardised by the train pool of far"),
        ('standardise = "none"', "inputs: both tables as they are"),
        ('standardise = "each"', "inputs: standardised one by one (far by its own, target by its own): a shift"),
    ):
        (tmp_path / "s.toml").write_text(text.replace("STANDARDISE", line))
        with pytest.raises(SystemExit):
            main(["show", "far->target", "--suite", "s.toml"])
        assert said in capfd.readouterr().out


def test_a_run_folder_says_it_and_goes_on(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    tables = "\n".join(f'{name} = {{ table = "{folder}/{name}.csv" }}' for name in MOONS)
    (tmp_path / "s.toml").write_text(
        f"""target_sizes = [20]\nseeds = 1\nbackbones = ["mlp"]\nstrategies = ["zero-shot"]\nstandardise = "same"
        recipe = {{ steps = 5 }}\nsource_recipe = {{ steps = 5 }}\npairs = [{{ target = "target", source = "far" }}]
        [tasks]\n{tables}"""
    )

    def said(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        assert done.value.code == 0, capfd.readouterr()
        return capfd.readouterr().out

    said("run", "s.toml", "--jobs", 0)
    plan = said("plan", "s.toml")
    assert "Tables in pairs to target are standardised by the train pool of same." in plan
    assert "Nothing is missing." in plan
    rows = bench.load_results("runs/s")
    assert rows["standardised_by"].tolist() == ["same"] * 2
    trial = rows[rows["source"].notna()].iloc[0]
    found = said("debug", trial["key"], "--out", "runs/s")  # reads again what a worker read
    assert f"test_accuracy: {trial['test_accuracy']}" in found
    said("report", "runs/s")
    page = (tmp_path / "runs" / "s" / "report.html").read_text()
    assert "standardised alike, by the train pool of same (far -&gt; target)" in page


def test_keys_know_the_transform_where_there_is_one(folder, tmp_path):
    def keys(**values):
        plan = read(suite_of(folder, ["same"], **values), tmp_path)
        return {(t.model.source if t.model else None, t.seed): t.key for t in plan.trials()}

    built_in = {name: {"task": "moons", "n": 40, "n_test": 40, **values} for name, values in MOONS.items()}
    raw = keys(tasks=built_in)
    assert raw == keys(tasks=built_in, standardise="none")
    assert not set(raw.values()) & set(keys(tasks=built_in, standardise="target").values())
    target = keys()
    assert target == keys(standardise="target")
    for rule in ("none", "source", "far"):
        assert not set(target.values()) & set(keys(standardise=rule).values()), rule
    each = keys(standardise="each")  # the target sees the same by both
    assert {place for place in each if each[place] == target[place]} == {(None, 0), (None, 1)}
    assert keys(standardise="source") == keys(standardise="same")


def test_a_source_of_two_targets_is_trained_as_each_of_them_sees_it(folder, tmp_path):
    pairs = [{"target": "target", "source": "same"}, {"target": "far", "source": "same"}]
    both = bench.run(suite_of(folder, pairs=pairs, measures=[]), tmp_path / "both", jobs=0)
    for pair in pairs:
        alone = bench.run(suite_of(folder, pairs=[pair], measures=[]), tmp_path / pair["target"], jobs=0)
        part = both[both["target"] == pair["target"]].reset_index(drop=True)
        assert part["key"].tolist() == alone["key"].tolist()
        assert np.array_equal(part["test_loss"], alone["test_loss"])
        assert np.array_equal(part["source_accuracy"].dropna(), alone["source_accuracy"].dropna())


def test_joint_training_and_weightings_see_the_transform(folder, tmp_path):
    values = {"strategies": ["joint", "feature-extraction"], "weighting": ["l2rw", "density-ratio"], "measures": []}
    values |= {"seeds": 1, "recipe": {**RECIPE, "steps": 10}, "source_recipe": {**RECIPE, "steps": 50}}
    rows = {
        rule: bench.run(suite_of(folder, ["far"], standardise=rule, **values), tmp_path / rule, jobs=0)
        for rule in ("target", "each")
    }
    assert (rows["target"]["status"] == "ok").all()
    assert (rows["each"]["status"] == "ok").all()
    place = ["source", "strategy", "weighting", "seed"]
    loss = {rule: found[found["source"].notna()].set_index(place)["test_loss"] for rule, found in rows.items()}
    assert len(loss["target"]) == 6
    assert (loss["target"] != loss["each"]).all()
    # Two classifiers tell shifted domains apart, and give the source no weight; two that were centred they cannot.
    size = {
        rule: found.loc[found["weighting"] == "density-ratio", "effective_sample_size"] for rule, found in rows.items()
    }
    assert size["target"].max() < size["each"].min()


def test_a_handed_in_model_gets_the_targets_inputs_as_scratch_does(folder, tmp_path):
    import torch

    from bench.backbones.base import build

    torch.save(build("mlp", (2,), 2, 0, 0, widths=[32, 32]).state_dict(), tmp_path / "mine.pt")
    models = {"mine": {"state_dict": str(tmp_path / "mine.pt"), "classes": ["lower", "upper"]}}
    rows = {}
    for rule in ("target", "none"):
        suite = suite_of(folder, ["mine"], models=models, standardise=rule, measures=["leep"])
        rows[rule] = bench.run(suite, tmp_path / rule, jobs=0)
    mine = {rule: found[found["source"] == "mine"] for rule, found in rows.items()}
    assert mine["target"]["standardised_by"].tolist() == ["target"] * 2
    assert mine["none"]["standardised_by"].isna().all()
    assert (mine["target"]["test_loss"].to_numpy() != mine["none"]["test_loss"].to_numpy()).all()
    assert (mine["target"]["leep"].to_numpy() != mine["none"]["leep"].to_numpy()).all()


def test_a_node_is_sent_the_task_that_standardises(folder, tmp_path):
    plan = read(suite_of(folder, ["same"], standardise="far"), tmp_path)
    trial = next(t for t in plan.trials() if t.model)
    scratch = next(t for t in plan.trials() if not t.model)
    card = plan.card("far").fingerprint
    for unit in (Group((trial.model,)), Group((scratch,)), Measurement("m", trial.model, "target")):
        sent = needs(plan, unit, tmp_path / "work", tmp_path)
        assert any(f"{card}.safetensors/x.npy" in place for place in sent), unit


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"standardise": "traget"},
            'standardise: "traget" is neither a rule nor a task of the suite; did you mean "target"',
        ),
        ({"standardise": "zzz"}, "allowed: target, source, none, each, or the name of a task"),
        ({"standardise": "source"}, '"source" leaves open which: "target" has 2'),
        ({"standardise": "mine"}, '"mine" is a model without data'),
        ({"standardise": "source", "sources": ["mine"]}, 'the source "mine" is a model without data'),
        ({"standardise": 3}, "standardise: must be text, got 3"),
    ],
)
def test_a_rule_that_is_none_is_said(folder, tmp_path, values, said):
    (tmp_path / "mine.pt").write_bytes(b"")
    values = {"models": {"mine": {"state_dict": str(tmp_path / "mine.pt")}}, **values}
    with pytest.raises(SuiteError) as error:
        load_suite(suite_of(folder, values.pop("sources", ("same", "far")), **values))
    assert said in str(error.value)


RAW = {"table": "far.csv", "test_path": "far-test.csv", "standardise": False}


@pytest.mark.parametrize(
    ("tasks", "values", "said"),
    [
        ({"far": RAW}, {}, 'pair far -> target: "far" says standardise = false, and "target" standardises its pairs'),
        ({"far": RAW}, {"standardise": "far"}, 'standardise: "far" says standardise = false'),
        ({"far": RAW}, {"standardise": "same"}, '"far" says standardise = false, and "same" standardises'),
        ({}, {"standardise": "digits"}, '"digits" standardises it, whose inputs are (1, 8, 8), not (2,)'),
        (
            {"far": {"table": "words.csv", "one_hot": True}, "target": {"table": "numbers.csv"}}, {},
            'column 2 holds a category in "far" and a measured number in "target"',
        ),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_treated_alike_are_said(folder, tmp_path, tasks, values, said):
    numbers = pd.DataFrame({"a": np.arange(100.0), "b": np.arange(100.0), "label": [0, 1] * 50})
    numbers.to_csv(folder / "numbers.csv", index=False)
    numbers.assign(b="one").to_csv(folder / "words.csv", index=False)
    with pytest.raises(SuiteError) as error:
        read(suite_of(folder, ["far"], tasks=tasks, **values), tmp_path)
    assert said in str(error.value)


def test_a_rule_for_tables_means_nothing_to_images(tmp_path):
    suite = {
        "target_sizes": [20], "standardise": "target", "seeds": 1, "recipe": RECIPE,
        "pairs": [{"target": "digits", "source": "printed-digits"}],
    }  # fmt: skip
    with pytest.raises(SuiteError, match="standardise: is for tables, and no target is one"):
        read(suite, tmp_path)


def test_a_raw_target_leaves_its_sources_raw(folder, tmp_path):
    tasks = {"target": {"table": "target.csv", "standardise": False}}
    plan = read(suite_of(folder, tasks=tasks), tmp_path)
    assert all(model.standardised_by is None for model in plan.source_models())
    assert Plan(plan.suite).standardised_by("same", "target") is None
