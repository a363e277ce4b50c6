"""Suites, data, checkpoints and run folders from somebody else: no code of theirs runs, nothing climbs out, nothing
small becomes larger than memory."""

from __future__ import annotations

import gzip
import html.parser
import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import bench
from bench.backbones.weights import load_state_dict_file
from bench.cli import main
from bench.errors import BenchError, DataError, StoreError, SuiteError
from bench.ledger.example_weights import load_weights
from bench.ledger.file import LEDGER, decode, encode
from bench.ledger.results import load_correctness, load_results
from bench.ledger.unit_records import describe_error
from bench.suite import load_suite
from bench.tasks.columns import read_table
from bench.tasks.files import read_npz
from bench.tasks.images import open_image
from bench.tasks.plain_pickle import plain_pickles
from tests.reliability.fuzz import no_hang

PAIR = '[[pairs]]\ntarget = "digits"\nsource = "noise"\n'


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self):
        return exec, (f"open({self.mark!r}, 'w').close()",)


@pytest.fixture
def mark(tmp_path):
    """A file that planted code makes, if it ever runs; planted code is first shown to work."""
    path = tmp_path / "code-has-run"
    pickle.loads(pickle.dumps(Bomb(path)))
    assert path.exists()
    path.unlink()
    yield path
    assert not path.exists()


@pytest.fixture
def ntbench(capfd):
    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return done.value.code, out, err

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_suite):
    """A run folder with everything in it."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    bench.run({**small_suite, "seeds": 1, "target_sizes": [20]}, folder, jobs=0)
    return folder


@pytest.fixture
def run_folder(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(folder, change):
    """Rewrite a ledger, checksums and all, as somebody could who wanted to."""
    path = folder / LEDGER
    records = [decode(line) for line in path.read_bytes().splitlines(keepends=True)]
    for record in records:
        change(record)
    path.write_bytes(b"".join(map(encode, records)))


# --- checkpoints ---------------------------------------------------------------------------------------


def checkpoints(mark):
    """Files that torch would run code for, if it were let."""
    yield "whole.pt", lambda path: torch.save({"state_dict": Bomb(mark)}, path)
    yield "legacy.pth", lambda path: torch.save({"w": Bomb(mark)}, path, _use_new_zipfile_serialization=False)
    yield "bare.bin", lambda path: path.write_bytes(pickle.dumps(Bomb(mark)))
    yield "renamed.safetensors", lambda path: path.write_bytes(pickle.dumps(Bomb(mark)))


def test_a_checkpoint_runs_no_code(tmp_path, mark):
    for name, write in checkpoints(mark):
        write(tmp_path / name)
        with pytest.raises(DataError, match=re.escape(name)):
            load_state_dict_file(tmp_path / name)
        suite = {
            "target_sizes": [20], "seeds": 1, "folder": str(tmp_path), "models": {"given": {"state_dict": name}},
            "pairs": [{"target": "digits", "source": "given"}],
        }  # fmt: skip
        with pytest.raises(BenchError):
            bench.run(suite, tmp_path / "out", jobs=0)


def test_a_checkpoint_that_is_small_stays_small(tmp_path):
    path = tmp_path / "bomb.pt"
    torch.save({"w": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in whole.namelist():
            packed.writestr(member, whole.read(member))
    assert (tmp_path / "small.pt").stat().st_size < 2**16
    with pytest.raises(DataError, match="exceeds the file"):
        load_state_dict_file(tmp_path / "small.pt")


def call(module, name, *arguments):
    """The instructions of a pickle to call something."""
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


TWO_GIBIBYTES = b"J" + struct.pack("<i", 2**31 - 1)
TWICE = b"(tq\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(200))  # tuples of twice the one before
LAST = b"h%c" % 200
GROWING = {
    "an array": call("builtins", "bytearray", TWO_GIBIBYTES),
    "by its old name": call("__builtin__", "bytearray", TWO_GIBIBYTES),
    "bytes, twice as many each time": call(
        "_codecs", "encode", call("_codecs", "encode", text("x"), text("latin1")), text("hex")
    ),
    "a key whose hash takes 2^200 steps": TWICE + b"}" + LAST + b"Ns",
    "the same within a set": TWICE + call("builtins", "set", LAST + b"\x85"),
}


@pytest.mark.parametrize("what", GROWING)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_that_would_grow_without_end_is_refused(what, legacy, tmp_path):
    """None of it is code, and torch would read it."""
    path, pickled = tmp_path / "grows.pt", b"\x80\x02" + GROWING[what] + b"."
    if legacy:
        whole = io.BytesIO()
        torch.save({}, whole, _use_new_zipfile_serialization=False)
        before, _, after = whole.getvalue().partition(pickle.dumps({}, 2))
        assert after
        path.write_bytes(before + pickled + after)
    else:
        torch.save({}, tmp_path / "whole.pt")
        with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(path, "w") as archive:
            for member in whole.namelist():
                archive.writestr(member, pickled if member.endswith("data.pkl") else whole.read(member))
    with pytest.raises(DataError, match=r"grows\.pt holds more than a state dict needs"):
        load_state_dict_file(path)


@pytest.mark.parametrize(
    "start", [b"\x8d\x8d\x8d\x8d]1((1", b"\x80\x02\x8d" + b"\xff" * 7 + b"\x7f", b"\x80\x02B\xff\xff\xff\x7f"]
)
def test_a_checkpoint_that_claims_more_bytes_than_there_are_is_damaged(start, tmp_path):
    """Found by atheris: room for 2^60 bytes was made before they were looked for."""
    (tmp_path / "claims.pt").write_bytes(start)
    with pytest.raises(DataError, match=r"claims\.pt is damaged or not a file that torch\.save wrote"):
        load_state_dict_file(tmp_path / "claims.pt")


def test_what_training_scripts_save_beside_a_state_dict_is_no_growth(tmp_path):
    state = {f"blocks.{n}.weight": torch.ones(2) for n in range(3000)}
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "groups": [{"betas": (0.9, 0.99)}]}
    saved = {"epoch": 3, "state_dict": state, "optimizer": optimizer}
    for legacy in (False, True):
        torch.save(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
        assert list(load_state_dict_file(tmp_path / "x.pt")) == list(state)


@pytest.mark.filterwarnings("ignore:Sparse invariant")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(1).expand(2**40),
        lambda: torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (2**40,)),
        lambda: torch.zeros(4, dtype=torch.complex64),
        lambda: torch.empty(2**40, device="meta"),
    ],
)
def test_a_tensor_that_is_not_plain_is_refused(make, tmp_path):
    torch.save({"w": make()}, tmp_path / "odd.pt")
    with pytest.raises(DataError, match=r"odd\.pt"):
        load_state_dict_file(tmp_path / "odd.pt")


def test_a_checkpoint_that_holds_itself_ends(tmp_path):
    endless = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pt")
    with pytest.raises(DataError, match="no plain state dict"):
        load_state_dict_file(tmp_path / "endless.pt")


# --- data ----------------------------------------------------------------------------------------------


def test_tables_and_arrays_run_no_code(tmp_path, mark):
    for name in ("x.npz", "x.csv", "x.parquet", "x.csv.gz"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
    np.savez(tmp_path / "y.npz", x=np.array([[Bomb(mark)]] * 4, dtype=object), y=np.arange(4) % 2)
    for name in ("x.npz", "y.npz"):
        with pytest.raises(DataError, match=re.escape(name)):
            read_npz(tmp_path, path=name)
    for name in ("x.csv", "x.parquet", "x.csv.gz"):
        with pytest.raises(DataError, match=re.escape(name)):
            bench.registry.TASKS.get("table").function(tmp_path, path=name)


def test_what_torchvision_unpickles_is_plain(tmp_path, mark):
    from torchvision.datasets import CIFAR10, lsun

    (tmp_path / "keys").write_bytes(pickle.dumps(Bomb(mark)))
    (tmp_path / "plain").write_bytes(pickle.dumps({"data": np.arange(6, dtype=np.uint8), "keys": [b"a", "b"]}))
    for cls in (lsun.LSUNClass, CIFAR10):
        module = sys.modules[cls.__module__]
        with plain_pickles(cls):
            with (tmp_path / "keys").open("rb") as file, pytest.raises(pickle.UnpicklingError, match="run code"):
                module.pickle.load(file)
            with (tmp_path / "plain").open("rb") as file:
                assert module.pickle.load(file, encoding="latin1")["data"].tolist() == list(range(6))
        assert module.pickle is pickle


def test_members_of_an_archive_stay_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("../../escaped.npy", "/escaped.npy", "x.npy", "y.npy"):
            with archive.open(name, "w") as file:
                np.save(file, np.arange(8) % 2 if name == "y.npy" else np.zeros((8, 3)))
    with pytest.warns(UserWarning, match="left out the arrays"):
        assert len(read_npz(tmp_path, path="x.npz").classes) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    assert not any(place.exists() for place in (Path("/escaped.npy"), tmp_path.parents[1] / "escaped.npy"))


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 4), }" % 2**38
    header += b" " * (118 - len(header) - 1) + b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        with archive.open("y.npy", "w") as file:
            np.save(file, np.arange(4))
    with pytest.raises(DataError, match="says that it takes"):
        read_npz(tmp_path, path="x.npz")


def test_a_table_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NTBENCH_MEMORY", "4M")
    with gzip.open(tmp_path / "x.csv.gz", "wb") as file:
        file.write(b"a,label\n" + b"0,1\n" * 2**21)
    frame = pd.DataFrame({name: np.zeros(2**19) for name in "ab"})
    frame.to_parquet(tmp_path / "x.parquet")
    for name in ("x.csv.gz", "x.parquet"):
        tracemalloc.start()
        with pytest.raises(DataError, match="unpack to more than NTBENCH_MEMORY"):
            read_table(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()
    monkeypatch.setenv("NTBENCH_MEMORY", "1G")
    assert len(read_table(tmp_path / "x.parquet")) == 2**19


def png(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_that_claims_to_be_huge_is_an_error_and_no_warning(tmp_path):
    side = int(Image.MAX_IMAGE_PIXELS**0.5) + 1  # Pillow itself only warns up to twice its bound
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with pytest.raises(DataError, match=r"bomb\.png: more than \d+ pixels"):
        open_image(tmp_path / "bomb.png")


def test_a_file_that_another_program_would_draw_is_no_image(tmp_path):
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) show\n")
    assert Image.open(tmp_path / "x.png").format == "EPS"
    with pytest.raises(DataError, match=r"x\.png: not an image"):
        open_image(tmp_path / "x.png")


# --- suites --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../up", "/tmp/x", "a/b", "..", ".hidden", "a\\b", "a\n"])
def test_the_name_of_a_suite_names_no_other_folder(name):
    with pytest.raises(SuiteError, match="name"):
        load_suite({"name": name, "target_sizes": [20], "pairs": [{"target": "digits", "source": "noise"}]})


def test_names_of_tasks_write_nowhere_else(tmp_path, monkeypatch):
    suite = {
        "name": "s", "target_sizes": [20], "seeds": 1, "measures": [], "strategies": ["feature-extraction"],
        "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "../../net"}],
        "recipe": {"steps": 2, "checkpoints": 1, "learning_rates": [0.1]}, "source_recipe": {"steps": 2},
        "tasks": {"../../up": {"task": "digits"}, "/etc/x": {"task": "noise"}, "a/../../b": {"task": "digits"}},
        "pairs": [{"target": t, "sources": ["/etc/x"]} for t in ("../../up", "a/../../b")],
    }  # fmt: skip
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    (place / "s.toml").write_text(_toml(suite))
    with pytest.raises(SystemExit) as done:
        main(["run", "s.toml", "--jobs", "0", "--out", "out"])
    assert done.value.code == 0
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and place / "out" not in path.parents]
    assert outside == [place / "s.toml"]
    assert any("gap_map-" in path.name for path in (place / "out").iterdir())


def _toml(value):
    def inline(v):
        if isinstance(v, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {inline(w)}" for k, w in v.items()) + " }"
        return "[" + ", ".join(map(inline, v)) + "]" if isinstance(v, list) else json.dumps(v)

    return "".join(f"{key} = {inline(v)}\n" for key, v in value.items())


def test_suites_that_grow_without_end_are_refused(tmp_path):
    def load(text):
        (tmp_path / "s.toml").write_text(text)
        return load_suite(tmp_path / "s.toml")

    laughs = [f't{k} = {{ task = "t{k - 1}", mix = "t{k - 1}" }}' for k in range(1, 30)]
    tasks = '[tasks]\nt0 = "digits"\n' + "\n".join(laughs)
    with pytest.raises(SuiteError, match="each counted as often as it is used"):
        load(f'target_sizes = [20]\n{tasks}\n[[pairs]]\ntarget = "digits"\nsource = "t29"\n')
    wide = "backbones = [{ backbone = 'mlp', widths = [" + "1," * 3000 + "] }]\nstrategies = ['triangle']\n"
    with pytest.raises(SuiteError, match="more than 10,000 points"):
        load(f"target_sizes = [20]\n{wide}{PAIR}")
    with pytest.raises(SuiteError, match=r"\.\.\. and [\d,]+ more"):
        load("".join(f"key{k} = 1\n" for k in range(30_000)))
    with pytest.raises(SuiteError, match="at most 1,000,000 seeds"):
        load(f'target_sizes = [20]\nseeds = "{",".join(["0-999999"] * 1000)}"\n{PAIR}')
    named = ", ".join(f't{k} = {{ task = "digits", label_noise = 0.{k + 1} }}' for k in range(90))
    many = f"tasks = {{ {named} }}\n"
    sources = ", ".join(f'"t{k}"' for k in range(90))
    wanted = f'pairs = [{{ target = "digits", sources = [{sources}] }}]\n'
    with pytest.raises(SuiteError, match=r"expand to 1,080,000,000 trials \(limit 100,000,000\)"):
        load(f"target_sizes = [20, 40]\nseeds = 1000000\nsource_models = 1\n{many}{wanted}")
    with pytest.raises(SuiteError, match=r"expand to 90,000,000 source models \(limit 1,000,000\)"):
        load(f"target_sizes = [20]\nstrategies = ['zero-shot']\nseeds = 1000000\n{many}{wanted}")
    with pytest.raises(DataError, match="nested"):
        load(f"{'.'.join('a' * 5000)} = 1\n{PAIR}")
    with pytest.raises(DataError, match="not valid TOML"):
        load(f"target_sizes = [{'9' * 5000}]\n{PAIR}")
    with pytest.raises(DataError, match="bits"):
        load(f"target_sizes = [0x{'f' * 5000}]\n{PAIR}")


@pytest.mark.parametrize("arguments", [["run", "s.toml", "--out", ""], ["status", ""], ["report", "x", "--out", " "]])
def test_a_folder_without_a_name_is_not_the_current_one(arguments, tmp_path, monkeypatch, ntbench):
    """As an unset variable in a script leaves it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(f"target_sizes = [20]\n{PAIR}")
    code, _, err = ntbench(*arguments)
    assert code == 2
    assert "empty name" in err
    with pytest.raises(StoreError, match="has no name"):
        bench.run("s.toml", "", jobs=0)
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]


# --- run folders ---------------------------------------------------------------------------------------


def test_a_run_folder_runs_no_code(run_folder, mark, ntbench):
    for path in (*run_folder.glob("sources/*"), *run_folder.glob("weights/*")):
        path.write_bytes(pickle.dumps(Bomb(mark)))
    (run_folder / LEDGER).write_bytes((run_folder / LEDGER).read_bytes() + pickle.dumps(Bomb(mark)))
    (run_folder / "provenance.json").write_bytes(pickle.dumps(Bomb(mark)))
    for verb in ("status", "table", "report", "export"):
        assert ntbench(verb, run_folder)[0] == 0
    load_correctness(run_folder)
    (run_folder / LEDGER).unlink()
    for name in ("results.parquet", "examples.parquet"):
        (run_folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    assert ntbench("table", run_folder)[0] == 2
    with pytest.raises(StoreError):
        load_results(run_folder)
    with pytest.raises(StoreError):
        load_correctness(run_folder)


def test_a_damaged_source_model_is_not_unpickled_but_made_again(run_folder, mark, small_suite):
    for path in run_folder.glob("sources/*"):
        path.write_bytes(pickle.dumps(Bomb(mark)))
    suite = {**small_suite, "target_sizes": [20], "seeds": 2}
    rows = bench.run(suite, run_folder, jobs=0)
    assert (rows["status"] == "ok").all()
    assert set(rows["seed"]) == {0, 1}


def test_a_plug_in_that_only_the_folder_names_is_not_loaded(run_folder, mark, ntbench):
    """The folder may come with the file that it names, and the file may be anything."""
    (run_folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")

    def name_it(record):
        if record["kind"] == "run":
            record["config"] |= {"plugins": ["evil.py"], "folder": "."}

    edit(run_folder, name_it)
    for verb in ("status", "table", "report", "export"):
        code, _, err = ntbench(verb, run_folder)
        assert code == 0
        assert "evil.py" in err
        assert "plug-ins recorded in a run folder are not executed; pass --plugin FILE to allow it" in err
    assert ntbench("diff", run_folder, run_folder)[0] == 0
    trusted = run_folder / "fine.py"
    trusted.write_text("")

    def name_another(record):
        if record["kind"] == "run":
            record["config"]["plugins"] = ["fine.py"]

    edit(run_folder, name_another)
    code, _, err = ntbench("table", run_folder, "--plugin", trusted)
    assert (code, "not executed" in err) == (0, False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_in_the_place_of_files_are_not_waited_for(run_folder, tmp_path, ntbench, small_suite):
    """An archive can hold them; whoever opens one waits until somebody writes to it."""
    (tmp_path / "x" / "a").mkdir(parents=True)
    (run_folder / "logs").mkdir(exist_ok=True)
    models = sorted(run_folder.glob("sources/*"))
    places = [*models, *run_folder.glob("weights/*"), run_folder / "live.json", run_folder / "logs" / "k.log"]
    for path in (*places, tmp_path / "x" / "a" / "1.png"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    with no_hang():
        for arguments in (("status", run_folder), ("report", run_folder), ("merge", tmp_path / "merged", run_folder)):
            assert ntbench(*arguments)[0] == 0
        assert ntbench("status", run_folder, "--log", "k")[0] == 2
        with pytest.raises(DataError, match=r"1\.png: no such image"):
            open_image(tmp_path / "x" / "a" / "1.png")
        suite = {**small_suite, "strategies": ["layer-transfer"], "target_sizes": [20], "seeds": 1}
        rows = bench.run(suite, run_folder, jobs=0)
    assert (rows["status"] == "ok").all()
    assert all(path.is_file() for path in models)  # made again


def test_a_key_in_a_ledger_leads_to_no_file_elsewhere(run_folder, tmp_path):
    (tmp_path / "secret.safetensors").write_bytes(b"not for you")

    def climb(record):
        if record["kind"] == "source":
            record["key"] = "../../secret"

    edit(run_folder, climb)
    assert load_weights(run_folder).empty


def test_bits_that_claim_more_than_they_are_stay_small(run_folder):
    def claim(record):
        if record["kind"] == "trial":
            record["row"]["n_test"] = 2**50

    edit(run_folder, claim)
    with pytest.raises(StoreError, match="does not say which were right"):
        load_correctness(run_folder)


def test_half_a_character_is_no_text(run_folder):
    stored = load_results(run_folder)

    def halve(record):
        if record["kind"] == "trial" and record["key"] == stored["key"][0]:
            record["row"]["target"] = "\ud800"

    edit(run_folder, halve)
    rows = load_results(run_folder)
    assert set(rows["key"]) == set(stored["key"][1:])
    assert "1 rows that are not as a run writes them are left out" in rows.attrs["warnings"]


def test_what_no_file_can_hold_is_written_otherwise():
    """A path may have bytes that are no characters."""
    line, trace = describe_error(ValueError("no file at x\udcff"))
    assert line == "ValueError: no file at x\\udcff"
    assert "x\\udcff" in trace


class Seen(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.handlers = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs).get("type"), dict(attrs).get("id")))
        self.handlers += [(tag, name) for name, value in attrs if name.startswith("on") or "script:" in (value or "")]


def test_a_report_shows_names_and_runs_none(run_folder, ntbench):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'>&{{7*7}}"

    def rename(record):
        if record["kind"] == "trial":
            row = record["row"]
            row |= {"target": f"t{evil}", "backbone": f"b{evil}", "suite": f"s{evil}"}
            row["source"] = row["source"] and f"src{evil}"
        elif record["kind"] == "task":
            record["card"]["name"] = f"t{evil}"
        elif record["kind"] == "run":
            record |= {"suite": f"s{evil}", "commit": evil, "processor": evil, "system": evil}
            record["config"] |= {"name": f"s{evil}", "description": evil}

    before = Seen((ntbench("report", run_folder), (run_folder / "report.html").read_text())[1])
    edit(run_folder, rename)
    code, _, err = ntbench("report", run_folder)
    assert code == 0, err
    page = (run_folder / "report.html").read_text()
    seen = Seen(page)
    scripts = [tag for tag in seen.tags if tag[0] == "script"]
    assert scripts == [tag for tag in before.tags if tag[0] == "script"]
    assert not seen.handlers
    assert not [tag for tag in seen.tags if tag[0] == "img"]
    assert "alert(1)" in page  # it is shown
    assert "{{7*7}}" in page.replace("&#39;", "'")
    assert "49" not in re.findall(r"&amp;(\S+?)<", page)


def test_a_checkpoint_whose_names_are_no_characters_is_damaged(tmp_path):
    import torch

    from bench.backbones.weights import load_state_dict_file
    from bench.errors import DataError

    path = tmp_path / "mine.pt"
    torch.save({"a": torch.zeros(2)}, path)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"mine/data.pkl")  # in the archive's list; flagged as UTF-8, and then not
    content[start - 46 + 9] |= 0x08
    content[start : start + 4] = b"\xff\xfe\xfd\xfc"
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged"):
        load_state_dict_file(path)
