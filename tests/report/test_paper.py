"""The paper: its numbers and tables are those of the stored rows, and its text types none itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from ntbench_paper.chapters import moons
from ntbench_paper.products import PICTURES, paper_products
from ntbench_paper.values import one

from bench.cli.reproduce import _part
from bench.errors import DataError
from bench.report.product import TABLE

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"
PAPER = REPOSITORY / "paper"
GENERATED = PAPER / "generated"
PRODUCTS = {product.name: product for product in paper_products(RESULTS)}
SECTIONS = sorted((PAPER / "sections").glob("*.tex"))

VALUE = re.compile(r"\\val\{([^}]*)\}")
WHEN = re.compile(r"\\whenthere\{([^}]*)\}\{")
# What is no result: the corner of scratch, the bounds of the triangle and the name of a penalty.
ALLOWED = ("L2", "$(0,0)$", "$(L,0)$", "$(k,0)$", r"$0\le f\le n\le L$")
WORDS = "five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand"


def text_of(path: Path) -> str:
    return re.sub(r"(?<!\\)%.*", "", path.read_text(encoding="utf-8"))


def built(text: str) -> str:
    """What LaTeX makes of a text: without what is said of suites that have no rows."""
    while found := WHEN.search(text):
        end = start = found.end()
        depth = 1
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        kept = text[start : end - 1] if (GENERATED / f"values-{found[1]}.tex").is_file() else ""
        text = text[: found.start()] + kept + text[end:]
    return text


def whole_text() -> str:
    """The text of the paper, all sections that are built in their places."""
    text = built(text_of(PAPER / "paper.tex")).partition(r"\begin{document}")[2]
    section = re.compile(r"\\input\{sections/([^}]*)\}")
    return section.sub(lambda found: built(text_of(PAPER / "sections" / f"{found[1]}.tex")), text)


def defined() -> set[str]:
    return {
        name for path in GENERATED.glob("values-*.tex") for name in re.findall(r"\\defval\{([^}]*)\}", path.read_text())
    }


@pytest.fixture(scope="module")
def parts():
    suites = {suite for product in PRODUCTS.values() for suite in product.suites}
    return {suite: _part(RESULTS / suite) for suite in suites}


@pytest.mark.parametrize("name", [name for name, product in PRODUCTS.items() if product.kind == TABLE])
def test_numbers_and_tables_are_those_of_the_stored_rows(name, parts, tmp_path):
    for path in PRODUCTS[name].make(parts, tmp_path):
        assert path.read_bytes() == (GENERATED / path.name).read_bytes(), "ntbench reproduce paper makes it anew"


def test_nothing_is_committed_that_the_rows_do_not_give():
    made = {name.partition("/")[2] for name in PRODUCTS}
    assert {path.stem for path in GENERATED.iterdir()} == made
    assert {f"figure-{name}" for name in PICTURES if PICTURES[name].suite} >= {
        n for n in made if n.startswith("figure")
    }


def test_a_suite_without_rows_is_left_out(tmp_path):
    (tmp_path / "paper" / "generated").mkdir(parents=True)
    shutil.copytree(RESULTS / "moons", tmp_path / "results" / "moons")
    found = {product.name: product for product in paper_products(tmp_path / "results")}
    assert set(found) == {"paper/values-moons", "paper/table-suites"}
    assert found["paper/table-suites"].suites == ("moons",)
    shutil.rmtree(tmp_path / "paper")
    assert not list(paper_products(tmp_path / "results"))


def test_a_number_that_the_rows_do_not_have_is_an_error(parts):
    table = parts["moons"].comparisons
    with pytest.raises(DataError, match=r"rows that a number of the paper needs are missing: \{'source': 'sun'\}"):
        one(table, source="sun")
    with pytest.raises(DataError, match="rows where a number of the paper needs one"):
        one(table, source="flipped")
    part = replace(parts["moons"], correct=None)
    with pytest.raises(DataError, match="do not say which test examples were right"):
        moons(part)


def test_every_number_in_the_text_is_one_of_the_rows():
    used = set(VALUE.findall(whole_text()))
    assert len(used) > 100
    assert used <= defined()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda path: path.stem)
def test_the_text_types_no_number(section):
    text = re.sub(r"\\whenthere\{[^}]*\}", " ", text_of(section))
    for command in ("val", "ref", "label", "input", "includegraphics", "suite", "citep", "citet", "begin", "end"):
        text = re.sub(rf"\\{command}\{{[^}}]*\}}", " ", text)
    text = re.sub(r"\\setlength\{[^}]*\}\{[^}]*\}", " ", text)
    for phrase in ALLOWED:
        text = text.replace(phrase, " ")
    assert re.findall(r"\S*\d\S*", text) == []
    assert re.findall(rf"\b(?:{WORDS})\b", text.lower()) == []


def test_the_text_shows_what_was_made_and_cites_what_is_listed():
    text = whole_text()
    shown = set(re.findall(r"generated/((?:figure|table)-[a-z0-9-]+)", text))
    assert shown == {path.stem for path in GENERATED.iterdir() if not path.stem.startswith("values")}
    cited = {key.strip() for keys in re.findall(r"\\cite[pt]?\{([^}]*)\}", text) for key in keys.split(",")}
    listed = re.findall(r"^@\w+\{(\w+),", (PAPER / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert cited <= set(listed)
    assert set(re.findall(r"\\ref\{([^}]*)\}", text)) <= set(re.findall(r"\\label\{([^}]*)\}", text))


@pytest.mark.skipif(
    not (shutil.which("latexmk") and shutil.which("pdflatex")), reason="NOT BUILT: latexmk or pdflatex is missing"
)
def test_the_paper_builds_and_fits_its_pages(tmp_path):
    shutil.copytree(PAPER, tmp_path / "paper", ignore=shutil.ignore_patterns("*.pdf-out", "build"))
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-quiet", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path / "paper", capture_output=True, text=True, check=False)
    log = (tmp_path / "paper" / "paper.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull" not in log
    assert "undefined" not in log
    pages = int(re.search(r"Output written on paper\.pdf \((\d+) page", log)[1])
    assert 6 <= pages <= 8
