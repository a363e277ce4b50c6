"""A new user's road with data that no suite holds: from a folder of files to the numbers of the report.

Small stand-ins for what people bring: photographs of odd sizes with ``train`` and ``val``, an npz with MedMNIST's
names, two shifted tables with few and many rows, a CSV without a header, a checkpoint saved by DataParallel. Every
verb is used with relative paths from the user's own folder, and a run is killed on the way.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.ledger.results import load_results

IMAGES = """\
backbones = [{ backbone = "cnn", channels = [4, 4], name = "cnn" }]
strategies = ["feature-extraction", "fine-tune"]
target_sizes = [20]
seeds = 3
image_size = 12
lanes = 1

[tasks]
photos = { folder = "data/photos" }
xrays = { npz = "data/xrays.npz" }

[models]
mine = { state_dict = "data/mine.pt" }

[[pairs]]
target = "photos"
sources = ["xrays", "mine"]

[recipe]
steps = 10
learning_rates = [0.05, 0.2]
checkpoints = 2

[source_recipe]
steps = 10
"""

TABLES = """\
backbones = [{ backbone = "mlp", widths = [8], name = "mlp" }]
strategies = ["zero-shot", "fine-tune"]
target_sizes = [20, 40]
seeds = 3
lanes = 1

[tasks]
clinic = { table = "data/clinic.csv" }
far = { table = "data/far.csv" }
bare = { table = "data/bare.csv", header = false, label = 0 }

[[pairs]]
target = "clinic"
sources = ["far", "bare"]

[recipe]
steps = 10
learning_rates = [0.05, 0.2]
checkpoints = 2

[source_recipe]
steps = 20
"""
# Scratch and each source's points of the triangle, for every size and seed; zero-shot uses no target labels.
TRIALS = {"images": 3 * (1 + 2 * 3), "tables": 3 * 2 * (1 + 2 * 1) + 3 * 2}
COMPARISONS = {"images": 2 * 3, "tables": 2 * (2 * 1 + 2)}
PAIR = {"images": "xrays->photos", "tables": "far->clinic"}


def write_photographs(folder: Path, rng: np.random.Generator) -> None:
    """Photographs in colour, no two of one size, in train/ and val/."""
    for part, number in (("train", 30), ("val", 12)):
        for label, name in enumerate(("ants", "bees")):
            (folder / part / name).mkdir(parents=True)
            for index in range(number):
                height, width = rng.integers(14, 30, 2)
                pixels = rng.normal(90 + 70 * label, 40, (height, width, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.{'jpg' if index % 2 else 'png'}")


def write_medical(path: Path, rng: np.random.Generator) -> None:
    """Grey images under the names that MedMNIST gives its arrays, most of them of one class."""
    arrays = {}
    for part, number in (("train", 120), ("val", 24), ("test", 60)):
        y = (np.arange(number) % 4 > 0).astype(np.uint8)[:, None]
        x = rng.normal(80 + 60 * y[:, :, None], 40, (number, 14, 14)).clip(0, 255).astype(np.uint8)
        arrays |= {f"{part}_images": x, f"{part}_labels": y}
    np.savez(path, **arrays)


def write_tables(folder: Path, rng: np.random.Generator) -> None:
    """Few rows, many shifted ones, and as many without a header whose label stands first as a float."""

    def rows(number, shift):
        y = np.arange(number) % 2
        return rng.normal(size=(number, 4)) + 1.5 * y[:, None] + shift, y

    for name, number, shift in (("clinic", 90, 0.0), ("far", 600, 4.0)):
        x, y = rows(number, shift)
        table = pd.DataFrame(x, columns=["a", "b", "c", "d"]).assign(label=y)
        table.to_csv(folder / f"{name}.csv", index=False)
    x, y = rows(200, 0.0)
    pd.DataFrame(x).assign(y=y.astype(float))[["y", 0, 1, 2, 3]].to_csv(
        folder / "bare.csv", index=False, header=False, float_format="%.6e"
    )


def write_checkpoint(path: Path) -> None:
    """What torch.save makes of a DataParallel network within a training script's dictionary."""
    import torch

    from bench.backbones.base import build

    network = build("cnn", (3, 12, 12), 7, 3, 3, channels=[4, 4])
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"epoch": 9, "state_dict": state}, path)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's folder: two suites and their data beside them."""
    home, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    (home / "data").mkdir()
    write_photographs(home / "data" / "photos", rng)
    write_medical(home / "data" / "xrays.npz", rng)
    write_tables(home / "data", rng)
    write_checkpoint(home / "data" / "mine.pt")
    (home / "images.toml").write_text(IMAGES)
    (home / "tables.toml").write_text(TABLES)
    return home


def run_and_kill(home: Path, name: str) -> None:
    """Start a run in a process of its own, and kill it with all its workers at the first finished trial."""
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    ledger = home / "runs" / name / "ledger.jsonl"
    command = [sys.executable, "-m", "bench", "run", f"{name}.toml", "--jobs", "0", "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=home, env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (ledger.is_file() and b'"kind":"trial"' in ledger.read_bytes()):
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.communicate()[1]
    process.stderr.close()


def page_table(page: str, block: str) -> pd.DataFrame:
    """Read a table back out of the report's page."""
    packed = re.search(rf'id="{block}">\s*([^<\s]+)', page)[1]
    columns = json.loads(gzip.decompress(base64.b64decode(packed)))["columns"]
    plain = {
        name: [values["d"][code] if code >= 0 else None for code in values["c"]] if isinstance(values, dict) else values
        for name, values in columns.items()
    }
    return pd.DataFrame(plain)


@pytest.mark.parametrize("name", ["images", "tables"])
def test_a_new_users_road_from_the_folder_to_the_reports_numbers(name, home, ntbench, monkeypatch):
    monkeypatch.chdir(home)
    suite, folder = f"{name}.toml", f"runs/{name}"

    checked = ntbench("check", suite, "--data")
    assert checked.code == 0, checked.err
    planned = ntbench("plan", suite)
    assert re.search(rf"trials +{TRIALS[name]} ", planned.out)
    assert ntbench("show", PAIR[name], "--suite", suite, "--png", f"{name}.png").code == 0
    with Image.open(f"{name}.png") as picture:
        assert min(picture.size) > 100

    run_and_kill(home, name)
    before = json.loads(ntbench("status", folder, "--json").out)
    assert 0 < before["suites"][name]["trials"]["done"] < TRIALS[name]
    resumed = ntbench("run", suite, "--jobs", 0, "--device", "cpu")
    assert resumed.code == 0, resumed.err
    rows = load_results(folder)
    assert (rows["status"] == "ok").all()
    assert len(rows) == TRIALS[name] == rows["key"].nunique()

    whole = ntbench("run", suite, "--out", "runs/whole", "--jobs", 0, "--device", "cpu")
    assert whole.code == 0, whole.err
    same = ntbench("diff", "runs/whole", folder)
    assert same.code == 0
    assert f"trials: {TRIALS[name]} the same to the bit" in same.out
    import shutil

    shutil.rmtree("runs/whole")

    table = ntbench("table", folder, "--format", "csv")
    assert len(table.out.splitlines()) == 1 + COMPARISONS[name]
    assert ntbench("export", folder, "--out", "export", "--predictions").code == 0
    gaps = pd.read_parquet("export/comparisons.parquet")
    page = ntbench("report", folder, "--out", f"{name}-report")
    assert page.code == 0
    text = Path(f"{name}-report.html").read_text()
    shown = page_table(text, "comparisons-data")
    place = ["source", "strategy", "frozen_depth", "target_size"]
    both = gaps.merge(shown, on=place, suffixes=("", "_shown"))
    assert len(both) == len(shown) == COMPARISONS[name]
    for column in ("ntg", "ntg_low", "ntg_high", "scratch_accuracy", "transfer_accuracy"):
        np.testing.assert_allclose(both[column], both[f"{column}_shown"], rtol=1e-5, atol=1e-6)
    # The gap itself, from the rows by hand.
    scratch = rows[rows["source"].isna()].set_index(["target_size", "seed"])["test_accuracy"]
    for gap in gaps[gaps["strategy"] == "fine-tune"].itertuples():
        arm = rows[
            (rows["source"] == gap.source) & (rows["strategy"] == "fine-tune")
            & (rows["frozen_depth"] == gap.frozen_depth) & (rows["target_size"] == gap.target_size)
        ]  # fmt: skip
        by_hand = np.mean([scratch[gap.target_size, row.seed] - row.test_accuracy for row in arm.itertuples()])
        assert gap.ntg == pytest.approx(by_hand, abs=1e-6)
    debugged = ntbench("debug", rows["key"].iloc[-1], "--out", folder)
    assert (debugged.code, "ok" in debugged.out) == (0, True)


def test_what_was_cut_and_what_the_data_hold_is_said(home, ntbench, monkeypatch):
    monkeypatch.chdir(home)
    checked = ntbench("check", "images.toml", "--data")
    assert checked.code == 0
    assert "photos" in checked.out
    assert "val" in checked.out  # where train and val come alone, val is the test set, which is said
    page = Path("runs/images/report.md").read_text()
    assert "- photos: 60 examples to train on and 24 to test on (ants 30 + 12, bees 30 + 12); images: " in page
    assert "test set: the 24 examples of the given validation split" in page
    tables = Path("runs/tables/report.md").read_text()
    assert (
        "Source and target tables were standardised alike, by the train pool of the target (bare, far -> clinic)."
        in tables
    )
