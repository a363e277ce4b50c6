"""Whole small runs in this process: rows, pairs, resuming, failures."""

from __future__ import annotations

import numpy as np
import pytest

import bench
from bench.errors import BenchError, SuiteError
from bench.launch.driver import Silent
from bench.ledger.file import LEDGER, read_records
from bench.ledger.results import load_correctness
from bench.ledger.stored import read_stored

MEASURED = ["test_accuracy", "test_loss", "val_accuracy", "val_loss", "learning_rate", "best_step", "key"]


def run(suite, out, **options):
    return bench.run(suite, out, jobs=0, **options)


def same(a, b):
    drop = ["seconds", "source_seconds"]
    return a.drop(columns=drop).equals(b.drop(columns=drop))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_suite):
    strategies = ["zero-shot", "feature-extraction", "fine-tune", "layer-transfer-tuned"]
    suite = {**small_suite, "strategies": strategies}
    out = tmp_path_factory.mktemp("run") / "out"
    return suite, out, run(suite, out)


def test_every_trial_has_one_row(finished):
    _, _, rows = finished
    # scratch: 2 sizes x 2 seeds; a source: zero-shot 2 seeds, else 4 points x 2 sizes x 2 seeds.
    assert len(rows) == 4 + 2 * (2 + 4 * 4)
    assert (rows.status == "ok").all()
    assert rows.key.is_unique
    scratch = rows[rows.strategy == "scratch"]
    assert scratch.source.isna().all()
    assert (scratch.transfer_depth == 0).all()
    assert not scratch.duplicated(["target_size", "seed"]).any()
    zero = rows[rows.strategy == "zero-shot"]
    assert (zero.target_size == 0).all()
    assert (zero.steps == 0).all()
    assert (zero.trainable_parameters == 0).all()
    assert rows[rows.source.notna()].source_accuracy.notna().all()
    assert rows[rows.source.notna()][["proxy_a_distance", "frechet_distance", "leep"]].notna().all(axis=None)


def test_correctness_on_the_test_set_is_kept(finished):
    _, out, rows = finished
    correct = load_correctness(out)
    for row in rows.itertuples():
        assert len(correct[row.key]) == row.n_test
        assert correct[row.key].mean() == pytest.approx(row.test_accuracy)


def test_running_again_changes_nothing(finished):
    suite, out, rows = finished
    before = (out / LEDGER).read_bytes()
    assert same(run(suite, out), rows)
    after = (out / LEDGER).read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"\n") == 1  # who ran what, when; no trial


def test_an_interrupted_run_resumes_to_the_same_table(finished, tmp_path):
    suite, out, rows = finished
    lines = (out / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / LEDGER).write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:40])
    again = run(suite, tmp_path)
    assert same(again, rows)
    assert "cut short" in again.attrs["warnings"][0] or "damaged" in again.attrs["warnings"][0]


def test_part_by_part_gives_the_same_table(finished, tmp_path):
    suite, _, rows = finished
    run(suite, tmp_path, where=["strategy=fine-tune", "pair=noisy->digits"])
    part = run(suite, tmp_path, seeds="1")
    assert 0 < len(part) < len(rows)
    assert same(run(suite, tmp_path), rows)


def test_a_damaged_or_missing_source_model_is_noticed_and_rebuilt(finished, tmp_path):
    suite, _, rows = finished
    run(suite, tmp_path, where=["strategy=zero-shot"])
    files = sorted((tmp_path / "sources").glob("*.safetensors"))
    content = bytearray(files[0].read_bytes())
    content[-3] ^= 4
    files[0].write_bytes(content)
    files[1].write_bytes(files[2].read_bytes())
    files[3].unlink()
    notes = []

    class Notes(bench.launch.driver.Silent):
        def note(self, text):
            notes.append(text)

    assert same(run(suite, tmp_path, progress=Notes()), rows)
    assert sum("is damaged" in n for n in notes) == 2
    assert sum("is gone" in n for n in notes) == 1


def test_scratch_and_transfer_share_subsample_head_and_batches(finished, monkeypatch):
    """What the strategy must not touch is the same for every strategy of (target, size, seed)."""
    from bench import runner
    from bench.launch import inline

    suite, _, _ = finished
    seen = []
    real = runner.fit

    def spy(lanes, *rest):
        for lane in lanes:
            head = lane.network.head.weight.detach().numpy().tobytes()
            examples = tuple(lane.split.train), tuple(lane.split.validation)
            seen.append((lane.size, lane.seed, lane.start.blocks, *examples, head))
        return real(lanes, *rest)

    monkeypatch.setattr(runner, "fit", spy)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run(suite, folder)
    assert inline.Inline.jobs == 1
    for size in (20, 40):
        for seed in (0, 1):
            of_pair = [s for s in seen if s[:2] == (size, seed)]
            assert {s[2] for s in of_pair} == {0, 1, 2}
            assert len({s[3:6] for s in of_pair}) == 1
    small, large = (next(s for s in seen if s[:2] == (n, 0)) for n in (20, 40))
    assert set(small[3] + small[4]) < set(large[3] + large[4])
    assert small[5] == large[5]


def test_the_same_examples_are_drawn_whatever_size_images_are_brought_to(finished, tmp_path, monkeypatch):
    """And they are those that were checked before anything was trained."""
    from bench import runner
    from bench.training import protocol

    suite, _, _ = finished
    drawn, checked = [], []
    real_fit, real_split = runner.fit, protocol.split_pool

    def spy_fit(lanes, *rest):
        drawn.extend((lane.size, lane.seed, tuple(lane.split.train)) for lane in lanes)
        return real_fit(lanes, *rest)

    def spy_split(*arguments):
        split = real_split(*arguments)
        checked.append((arguments[2], arguments[3], tuple(split.train)))
        return split

    monkeypatch.setattr(runner, "fit", spy_fit)
    monkeypatch.setattr(protocol, "split_pool", spy_split)
    for size in (8, 12):
        run({**suite, "image_size": size, "strategies": ["feature-extraction"]}, tmp_path / str(size))
    assert len(set(drawn)) == 4
    assert set(drawn) == set(checked)


def test_a_failing_trial_is_a_row_and_can_be_tried_again(finished, tmp_path, monkeypatch):
    from bench import runner

    suite, _, rows = finished
    real = runner.copy_blocks

    def broken(network, source, depth):
        if depth == 1:
            raise RuntimeError("planted failure")
        real(network, source, depth)

    monkeypatch.setattr(runner, "copy_blocks", broken)
    broken_rows = run(suite, tmp_path)
    failed = broken_rows[broken_rows.status == "failed"]
    assert len(broken_rows) == len(rows)
    assert set(failed.transfer_depth) == {1}
    assert (failed.error == "RuntimeError: planted failure").all()
    assert failed.test_accuracy.isna().all()
    details = {r["key"]: r["detail"] for r in read_records(tmp_path) if r["kind"] == "trial"}
    assert all("planted failure" in details[key]["traceback"] for key in failed.key)
    monkeypatch.setattr(runner, "copy_blocks", real)
    assert (run(suite, tmp_path).status == "failed").sum() == len(failed)  # not retried unasked
    assert same(run(suite, tmp_path, retry_failed=True), rows)


def test_a_failing_source_model_fails_its_trials_and_no_others(finished, tmp_path, monkeypatch):
    from bench import runner

    suite, _, rows = finished
    real = runner.train_sources

    def broken(plan, models, *rest):
        if any(model.source == "noisy" for model in models):
            raise RuntimeError("planted failure")
        return real(plan, models, *rest)

    class Tally(Silent):
        def __init__(self):
            self.stages, self.counts = [], []

        def stage(self, name, total):
            self.stages.append((name, total))
            self.counts.append(0)

        def advance(self, record):
            self.counts[-1] += 1

    monkeypatch.setattr(runner, "train_sources", broken)
    tally = Tally()
    broken_rows = run(suite, tmp_path, progress=tally)
    assert tally.counts == [total for _, total in tally.stages]  # each unit counts in its own stage
    assert tally.stages[-1] == ("trials", len(rows))
    failed = broken_rows[broken_rows.status == "failed"]
    assert set(failed.source) == {"noisy"}
    assert len(failed) == (rows.source == "noisy").sum()
    assert failed.error.str.contains("source model failed: RuntimeError: planted failure").all()
    monkeypatch.setattr(runner, "train_sources", real)
    assert same(run(suite, tmp_path, retry_failed=True), rows)


def test_source_models_can_be_fewer_than_seeds(finished, tmp_path):
    suite, _, _ = finished
    rows = run({**suite, "seeds": 4, "source_models": 2, "target_sizes": [20]}, tmp_path)
    with_source = rows[rows.source.notna()]
    assert set(with_source.source_seed - with_source.seed % 2) == {0}
    assert len(list((tmp_path / "sources").glob("*.safetensors"))) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_sizes": [9000]}, r"needs 9000 examples, the train pool has \d+"),
        ({"target_sizes": [11]}, "fewer than the 10 classes"),
        ({"pairs": [{"target": "digits", "source": "moons"}]}, "pair moons -> digits"),
        ({"pairs": [{"target": "digits", "source": "MNIST"}], "data_root": "nowhere"}, 'task "MNIST"'),
        ({"pairs": [{"target": "digits", "source": "gone"}], "tasks": {"gone": {"folder": "gone"}}}, 'task "gone"'),
    ],
)
def test_what_data_rule_out_is_said_before_anything_trains(finished, tmp_path, change, message):
    suite, _, _ = finished
    with pytest.raises(SuiteError, match=message):
        run({**suite, **change}, tmp_path)
    assert not (tmp_path / "sources").exists()


def test_cuda_is_asked_for_in_vain(finished, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(BenchError, match="no CUDA device"):
        run(finished[0], tmp_path, device="cuda")


def test_per_class_sizes_and_all(finished, tmp_path):
    suite, _, _ = finished
    suite = {**suite, "target_sizes": ["3 per class", "all"], "strategies": ["feature-extraction"], "seeds": 1}
    rows = run(suite, tmp_path)
    assert sorted(rows.target_size.unique())[0] == 30
    assert sorted(rows.target_size.unique())[1] > 1000


def test_accuracies_of_the_same_trial_do_not_depend_on_the_rest_of_the_suite(finished, tmp_path):
    suite, _, rows = finished
    pairs = [{"target": "digits", "source": "noisy"}]
    fewer = {**suite, "strategies": ["fine-tune"], "target_sizes": [40], "pairs": pairs}
    few = run(fewer, tmp_path)
    both = few.merge(rows, on="key", suffixes=("", "_all"))
    assert len(both) == len(few)
    for name in MEASURED[:-1]:
        np.testing.assert_array_equal(both[name], both[f"{name}_all"])


LANED = {
    "name": "laned", "backbones": [{"backbone": "cnn", "channels": [3, 5], "norm": "batch", "name": "cnn"}],
    "strategies": ["zero-shot", "feature-extraction", "fine-tune", "layer-transfer", "gradual-unfreezing"],
    "target_sizes": [20], "seeds": 3, "image_size": 8, "measures": [], "lanes": 4,
    "tasks": {"source": {"task": "printed-digits", "n": 200, "n_test": 50}},
    "pairs": [{"target": "digits", "sources": ["source", "noise"]}],
    "recipe": {"steps": 8, "learning_rates": [0.05, 0.2], "checkpoints": 2}, "source_recipe": {"steps": 10},
}  # fmt: skip


def test_rows_do_not_depend_on_what_else_is_run_or_missing(tmp_path):
    """Other seeds, a part of the pairs first: what is stacked with what changes, no number does."""
    whole = run(LANED, tmp_path / "whole")
    assert (whole.status == "ok").all()
    assert set(whole.cut.dropna()) == {"cached"}
    part = {**LANED, "pairs": [{"target": "digits", "source": "noise"}], "seeds": [1]}
    run({**part, "strategies": ["fine-tune"]}, tmp_path / "parts")
    run(part, tmp_path / "parts")
    assert same(run(LANED, tmp_path / "parts"), whole)


def test_a_run_folder_keeps_the_layout_of_its_first_run(tmp_path, monkeypatch):
    from bench.launch import means

    first = run(LANED | {"lanes": "auto"}, tmp_path)
    monkeypatch.setattr(means, "choose_device", lambda device: "cpu")
    records = [r for r in read_records(tmp_path) if r["kind"] == "run"]
    assert [r["layout"] for r in records] == ["cpu"]
    assert read_stored(tmp_path).machine == "cpu"
    assert same(run(LANED | {"lanes": "auto"}, tmp_path), first)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_other_precisions_run_and_are_other_rows(tmp_path, precision):
    rows = run({**LANED, "seeds": 1, "precision": precision}, tmp_path)
    assert (rows.status == "ok").all()
    exact = run({**LANED, "seeds": 1}, tmp_path)
    assert not set(rows.key) & set(exact.key)


def test_augmentation_is_said_in_the_rows(tmp_path):
    suite = {**LANED, "seeds": 1, "recipe": {**LANED["recipe"], "augment": ["flip", "shift"]}}
    rows = run(suite, tmp_path)
    frozen = rows[rows.strategy.isin(["feature-extraction", "layer-transfer"])]
    assert set(frozen.cut) == {"recomputed"}
    assert rows[rows.strategy == "scratch"].cut.isna().all()


@pytest.mark.parametrize("lanes", [1, 4])
def test_data_that_do_not_fit_in_memory_give_the_same_rows(tmp_path, monkeypatch, lanes):
    """Inputs mapped and prepared batch by batch, activations spilt to files, nothing copied together."""
    suite = {**LANED, "seeds": 2, "lanes": lanes}
    expected = run(suite, tmp_path / "in memory")
    monkeypatch.setenv("NTBENCH_MEMORY", "2K")
    assert same(run(suite, tmp_path / "mapped"), expected)
