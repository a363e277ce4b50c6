"""``ntbench status``, ``table`` and ``show``."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from cli_suite import SUITE, TRIALS

from bench.ledger.file import LEDGER, decode, encode, open_ledger

PNG = b"\x89PNG\r\n\x1a\n"


def copied(out, tmp_path):
    """Return a copy of a run folder's ledger, at the same depth below its suite."""
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copy(out / LEDGER, folder / LEDGER)
    return folder


def test_status_of_a_finished_run(finished, ntbench):
    _, out, _ = finished
    done = ntbench("status", out)
    assert done.code == 0
    assert f"suite small, trials: {TRIALS} done, 0 missing" in done.out
    assert "suite small, source models: 4 done, 0 missing" in done.out
    assert "errors" not in done.out
    assert "device: cpu" in done.out
    assert "torch " in done.out
    assert "running" not in done.out


def test_status_for_programs(finished, tmp_path, ntbench):
    _, out, _ = finished
    folder = copied(out, tmp_path)
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    trials = [i for i, line in enumerate(lines) if b'"kind":"trial"' in line]
    failed = decode(lines[trials[0]])
    failed["row"] |= {"status": "failed", "error": "ValueError: no luck"}
    failed["detail"] = {"traceback": "Traceback ...\nValueError: no luck\n"}
    lines[trials[0]] = encode(failed)
    lines[trials[1]] = b'{"crc":"00000000",' + lines[trials[1]][19:]
    (folder / LEDGER).write_bytes(b"".join(lines))
    found = json.loads(ntbench("status", folder, "--json").out)
    assert found["suites"]["small"]["trials"] == {"done": TRIALS - 2, "failed": 1, "missing": 1}
    assert found["suites"]["small"]["seconds_left"] > 0
    assert found["errors"] == [{"error": "ValueError: no luck", "count": 1, "key": failed["key"]}]
    assert f"1 line of the ledger ({trials[1] + 1}) damaged" in found["damage"]
    assert found["running"] is False
    assert (found["last_run"]["launcher"], found["last_run"]["jobs"]) == ("inline", 1)
    text = ntbench("status", folder)
    assert "1 x ValueError: no luck" in text.out
    assert re.search(r"suite small, left: about .* of training on one worker", text.out)
    assert "damaged" in text.err
    shown = ntbench("status", folder, "--traceback", failed["key"][:6])
    assert shown.out.endswith("Traceback ...\nValueError: no luck\n")
    assert ntbench("status", folder, "--traceback", "zzz").code == 2


def test_status_while_a_run_holds_the_folder(finished, tmp_path, ntbench):
    folder = copied(finished[1], tmp_path)
    with open_ledger(folder):
        assert f"{folder}, running now" in ntbench("status", folder).out


def test_status_without_the_suites_plug_in_still_counts_what_is_stored(finished, tmp_path, ntbench):
    folder = copied(finished[1], tmp_path)
    records = [decode(line) for line in (folder / LEDGER).read_bytes().splitlines(keepends=True)]
    for record in records:
        if record["kind"] == "run":
            record["config"]["plugins"] = ["gone.py"]
    (folder / LEDGER).write_bytes(b"".join(map(encode, records)))
    done = ntbench("status", folder)
    assert done.code == 0
    assert f"stored: {TRIALS} finished trials, 0 failed" in done.out
    assert "suite small cannot be read again" in done.err
    assert "gone.py" in done.err
    assert "Scratch" in ntbench("table", folder).out


@pytest.mark.parametrize("verb", ["status", "table"])
def test_folders_that_hold_nothing(verb, tmp_path, ntbench):
    for folder in (tmp_path / "nowhere", tmp_path):
        done = ntbench(verb, folder)
        assert done.code == 2
        assert str(folder) in done.err
        assert "Traceback" not in done.err


def test_a_foreign_parquet_is_named_with_what_it_lacks(finished, tmp_path, ntbench):
    import pandas as pd

    path = tmp_path / "results.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    done = ntbench("table", tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {path} is no table of trials: it lacks the columns suite, source")
    rows = pd.read_parquet(finished[1] / "results.parquet").astype({"test_accuracy": str})
    rows.assign(test_accuracy="high").to_parquet(path)
    done = ntbench("table", tmp_path)
    assert (done.code, done.err) == (2, f"error: {path}: column \"test_accuracy\", row 0: 'high' is not a number\n")


def test_the_table_in_every_format(finished, ntbench):
    _, out, _ = finished
    assert "target digits, cnn, 20 target examples" in ntbench("table", out).out
    md = ntbench("table", out, "--format", "md", "--size", "40").out
    assert "| near |" in md
    assert "40 target examples" in md
    assert "20 target examples" not in md
    assert "\\begin{tabular}" in ntbench("table", out, "--format", "latex").out
    csv = ntbench("table", out, "--format", "csv").out.splitlines()
    assert csv[0].startswith("source,target,backbone,strategy,")
    assert len(csv) == 1 + 2 * 2 * 4  # 2 sources x 2 sizes x (zero-shot, feature extraction, 2 of fine-tune)


def test_the_table_of_derived_files_alone(finished, tmp_path, ntbench):
    _, out, _ = finished
    folder = tmp_path / "committed"
    folder.mkdir()
    shutil.copy(out / "results.parquet", folder)
    assert ntbench("table", folder).out == ntbench("table", out).out


def test_the_suites_own_statistics_judge_the_table(suite, tmp_path, ntbench):
    suite.write_text(SUITE + "\n[statistics]\nmargin = 0.05\ncorrection = 'fdr_bh'\n")
    out = tmp_path / "out"
    where = ("--where", "source=near", "size=20", "strategy=feature-extraction")
    run = ntbench("run", suite, "--out", out, "--jobs", 0, "--device", "cpu", *where)
    for said in (run.out, ntbench("table", out).out):
        assert "within 5 points" in " ".join(said.split())
        assert "Benjamini-Hochberg" in said


def test_committed_rows_are_judged_as_the_provenance_beside_them_says(finished, tmp_path, ntbench):
    for name in ("results.parquet", "provenance.json"):
        shutil.copy(finished[1] / name, tmp_path)
    assert "within 1 point;" in " ".join(ntbench("table", tmp_path).out.split()).replace(")", ";")
    path = tmp_path / "provenance.json"
    path.write_text(path.read_text().replace('"margin": 0.01', '"margin": 0.07'))
    assert "within 7 points" in " ".join(ntbench("table", tmp_path).out.split())
    path.write_text("[]")
    done = ntbench("table", tmp_path)
    assert done.code == 2
    assert f"cannot read {path}" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "markdown"), "unknown table format"),
        (("--size", "30"), "the folder has the sizes 20, 40"),
        (("--near", "leap"), 'did you mean "leep"'),
    ],
)
def test_wrong_options_of_a_table(finished, ntbench, options, said):
    done = ntbench("table", finished[1], *options)
    assert done.code == 2
    assert said in done.err


def test_show_a_pair_of_a_suite_with_its_measured_similarity(finished, tmp_path, ntbench):
    suite, out, _ = finished
    png = tmp_path / "pair.png"
    done = ntbench("show", "noisy->digits", "--suite", suite, "--out", out, "--png", png)
    assert done.code == 0, done.err
    assert png.read_bytes().startswith(PNG)
    for said in (
        "noisy: 1 x 8 x 8 (image", "200 train, 50 test; 10 classes",
        "always predicting 3, the train pool's largest class (the first of equals), scores 10.2% on the test set",
        "100 train examples (50%) spoilt on purpose",
        "networks see: 1 x 8 x 8", "of the target's 10 classes, the source has all",
        "similarity (cnn, mean over 2 source models, 95 % interval):", "proxy-a-distance", "leep -", f"picture: {png}",
    ):  # fmt: skip
        assert said in done.out


def test_show_a_model_that_is_handed_in(tmp_path, ntbench, monkeypatch):
    import torch

    from bench.backbones.base import build

    monkeypatch.chdir(tmp_path)
    torch.save(build("mlp", (2,), 2, 0, 0, widths=[8]).state_dict(), "mine.pt")
    (tmp_path / "handed.toml").write_text(
        'backbones = [{ backbone = "mlp", widths = [8] }]\nstrategies = ["feature-extraction"]\n'
        "target_sizes = [20]\nseeds = 1\nrecipe = { steps = 5 }\n"
        '[models]\nmine = { state_dict = "mine.pt", classes = ["upper", "other"] }\n'
        '[[pairs]]\ntarget = "moons"\nsources = ["mine"]\n'
    )
    before = ntbench("show", "mine->moons", "--suite", "handed.toml")
    assert before.code == 0, before.err
    assert "2 classes, among them 1 of the target's 2" in before.out
    assert "moons: 2 columns" in before.out
    assert "not measured yet" in before.out
    assert (tmp_path / "mine-to-moons.png").read_bytes().startswith(PNG)
    assert ntbench("run", "handed.toml", "--jobs", "0").code == 0
    after = ntbench("show", "mine->moons", "--suite", "handed.toml")
    assert re.search(r"leep -0\.\d+ \[-0\.\d+, -0\.\d+\] \(high is near\)", after.out)
    alone = ntbench("show", "mine", "--suite", "handed.toml")
    assert alone.code == 2
    assert 'write "mine->TARGET"' in alone.err


def test_show_before_anything_is_trained(suite, tmp_path, ntbench, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = ntbench("show", "near->digits", "--suite", suite)
    assert done.code == 0
    assert f"not measured yet; it is, with trained source models, by ntbench run {suite}" in done.out
    assert (tmp_path / "near-to-digits.png").read_bytes().startswith(PNG)


def test_show_registered_tasks_without_a_suite(tmp_path, ntbench):
    one = ntbench("show", "moons", "--png", tmp_path / "moons.png")
    assert one.code == 0
    assert "moons: 2 columns (table row" in one.out
    two = ntbench("show", "moons->digits", "--png", tmp_path / "two.png")
    assert two.code == 0
    assert "cannot meet: The source has table rows" in two.out


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("digts", 'did you mean "digits"'),
        ("near->digits", "give --suite FILE"),
        ("noise-", "quote the pair"),
        ("digits->", "is no pair"),
        ("image-folder", 'needs the argument "path"'),
    ],
)
def test_show_what_is_not_there(pair, said, ntbench):
    done = ntbench("show", pair)
    assert done.code == 2
    assert said in done.err


def test_show_into_a_folder_that_is_not_there(tmp_path, ntbench):
    done = ntbench("show", "moons", "--png", tmp_path / "nowhere" / "x.png")
    assert done.code == 2
    assert "cannot write" in done.err
