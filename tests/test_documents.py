"""The pages a newcomer reads lead somewhere, the map shows the house that stands, and settings agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import bench

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md", "CONTRIBUTING.md", "bench/README.md", "experiments/README.md", "experiments/slurm/README.md",
    "results/README.md", "results/benchmarks/README.md",
)  # fmt: skip
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The marks that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    here = REPOSITORY / page
    for target, mark in re.findall(r"\]\(([^)#:]*)(#[^)]+)?\)", read(page)):
        linked = here.parent / target if target else here
        assert linked.exists(), target
        assert not mark or mark[1:] in anchors(linked), mark


def test_the_readme_opens_within_two_screens():
    opening, _, reference = read("README.md").partition("\n# Reference\n")
    assert reference
    assert opening.count("\n") <= 100
    headings = ["Two commands", "A first pair of your own", "How to read the table", "Where to go on"]
    assert re.findall(r"^## (.+)$", opening, re.MULTILINE) == headings
    assert re.search(r"^!\[", opening, re.MULTILINE)


def section(page: str, heading: str) -> str:
    return read(page).partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_way_of_a_trial_crosses_at_most_nine_modules():
    way = re.findall(
        r"^\| \d+ \| \[`([\w./]+)`\]\(([\w./]+)\) \| (.+) \|$", section("bench/README.md", "The way of a trial"), re.M
    )
    assert 5 <= len(way) <= 9
    for shown, linked, what in way:
        assert shown == linked
        assert (REPOSITORY / "bench" / linked).is_file(), linked
        assert len(what.split()) > 5


def test_the_map_has_a_room_for_everything_that_can_be_added():
    rooms = section("bench/README.md", "Which room to enter")
    rows = [line.strip("| ").split(" | ") for line in rooms.splitlines() if line.startswith("| ")][2:]
    kinds = {row[0]: row for row in rows}
    for kind in ("task", "backbone", "method", "adaptation", "metric", "weighting", "launcher"):
        assert kind in kinds
    assert any("(head)" in kind for kind in kinds)
    assert any(kind.startswith("measure") for kind in kinds)
    for path in re.findall(r"`([\w/]+(?:/|\.py))`", rooms):
        assert (REPOSITORY / "bench" / path).exists(), path
    # Whatever has an index of built-in names has a row.
    for index in (REPOSITORY / "bench").glob("*/index*.py"):
        assert f"`{index.parent.name}/{index.name}`" in rooms


def test_scaffolds_on_the_map_are_those_of_the_command():
    from bench.cli import new

    rooms = section("bench/README.md", "Which room to enter")
    for verb in re.findall(r"\| `(\w+)` \|", rooms):
        assert callable(getattr(new, verb)), verb


def test_the_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "bench.__version__"}
    for page in ("CITATION.cff", "README.md"):
        assert bench.__version__ not in read(page)


def test_the_workflow_tests_the_versions_of_python_that_are_declared():
    workflow = read(".github/workflows/ci.yml")
    tested = re.findall(r'"(3\.\d+)"', workflow)
    assert tested == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"
    assert ".ci/run" in workflow


def test_what_lint_types_is_there():
    for path in PROJECT["tool"]["mypy"]["files"]:
        assert (REPOSITORY / path).exists(), path
