"""The floors of the house, and what keeps its modules small and its top level light.

A module imports modules of its own group or of the groups that its group stands on, never the other way
round; imports within functions count, those for type checkers alone do not. Two places differ from the
order in which one would first draw the floors: similarity stands above training, since a measure looks
at the data through a network as training prepares them; and what a suite says of strategies (points in
the triangle) and of tasks (their class names) is ground, so that a plan needs neither data nor torch.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 60

# Group -> (its modules or packages, the groups that it may import). What those stand on is not implied.
_GROUND = "ground"
_FLOORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    _GROUND: (
        (
            "errors", "identity", "registry", "triangle", "trial", "schema", "scores", "atomic_write",
        ),
        (),
    ),
    "ledger": (("ledger", "provenance"), (_GROUND,)),
    "suite": (("suite",), (_GROUND, "ledger")),
    "heads": (("heads",), (_GROUND,)),
    "tasks": (("tasks",), (_GROUND, "heads", "suite")),
    "metrics": (("metrics",), (_GROUND,)),
    "backbones": (("backbones",), (_GROUND,)),
    "weighting": (("weighting",), (_GROUND,)),
    "transfer": (("transfer",), (_GROUND, "backbones")),
    "adaptations": (("adaptations",), (_GROUND, "backbones")),
    "methods": (("methods",), (_GROUND,)),
    "training": (("training",), (_GROUND, "heads", "methods", "suite", "tasks", "metrics", "backbones", "weighting")),
    "similarity": (("similarity",), (_GROUND, "tasks", "backbones", "training")),
    "sources": (("sources",), (_GROUND, "ledger", "heads", "suite", "tasks", "backbones", "weighting", "training")),
    "runner": (
        ("runner",),
        (
            _GROUND, "ledger", "heads", "suite", "tasks", "backbones", "weighting", "transfer", "adaptations",
            "training", "sources", "similarity",
        ),
    ),
    "launch": (("launch",), (_GROUND, "ledger", "suite", "tasks", "training", "runner")),
    "stats": (("stats",), (_GROUND,)),
    "report": (("report",), (_GROUND, "stats", "transfer")),
    "api": (("api",), ("ledger", "suite", "launch")),
    "cli": (
        ("cli", "__main__"),
        (
            _GROUND, "ledger", "suite", "tasks", "backbones", "transfer", "adaptations", "training", "similarity",
            "launch", "stats", "report", "api", "metrics",
        ),
    ),
}  # fmt: skip

LIGHT = [
    "bench",
    "bench.suite",
    "bench.suite.count",
    "bench.suite.estimate",
    "bench.api",
    "bench.ledger.results",
    "bench.ledger.file",
]
NEVER_TORCH = ("stats", "report", "suite", "ledger")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((REPOSITORY / "bench").rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def group(module: str) -> str | None:
    """The group of a module; None for the package itself."""
    top = module.split(".")[1] if "." in module else None
    return next((name for name, (members, _) in _FLOORS.items() if top in members), None)


def for_type_checkers(tree: ast.Module) -> set[ast.AST]:
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    return {inner for block in blocks for inner in ast.walk(block)}


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports when it runs, within functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = for_type_checkers(tree)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def test_every_module_has_a_floor():
    homeless = [name for name in MODULES if name != "bench" and group(name) is None]
    assert not homeless
    tops = {name.split(".")[1] for name in MODULES if "." in name}
    listed = [member for members, _ in _FLOORS.values() for member in members]
    assert sorted(listed) == sorted(tops)  # each once, and none that is gone


def test_the_floors_have_an_order():
    names = list(_FLOORS)
    for name, (_, below) in _FLOORS.items():
        assert all(names.index(other) < names.index(name) for other in below)


def test_imports_only_go_down():
    wrong = []
    for name, path in MODULES.items():
        home = group(name)
        for other in imports(path):
            if not other.startswith("bench.") or home is None:
                continue
            end = group(other)
            if end != home and end not in _FLOORS[home][1]:
                wrong.append(f"{name} ({home}) imports {other} ({end})")
    assert not wrong


def test_what_builds_the_paper_reads_rows_and_the_package_does_without_it():
    allowed = {_GROUND, "stats", "report", "transfer"}
    for path in sorted((REPOSITORY / "paper" / "ntbench_paper").glob("*.py")):
        assert path.read_text(encoding="utf-8").count("\n") <= MAX_MODULE_LINES
        for other in imports(path):
            assert other.split(".")[0] not in ("torch", "torchvision")
            assert not other.startswith("bench.") or group(other) in allowed, f"{path.name} imports {other}"
    assert not [name for name, path in MODULES.items() if any("ntbench_paper" in other for other in imports(path))]


def test_no_permission_is_idle():
    used = {(group(name), group(other)) for name, path in MODULES.items() for other in imports(path)}
    idle = [(home, other) for home, (_, below) in _FLOORS.items() for other in below if (home, other) not in used]
    assert not idle


def test_the_package_itself_imports_nothing_of_its_own():
    assert not [other for other in imports(MODULES["bench"]) if other.startswith("bench.")]


@pytest.mark.parametrize("floor", [_GROUND, "ledger"])
def test_modules_do_not_import_each_other_in_circles(floor):
    edges = {
        name: {other for other in imports(path) if group(other) == floor and other != name}
        for name, path in MODULES.items()
        if group(name) == floor
    }
    while edges:
        free = [name for name, needs in edges.items() if not needs & set(edges)]
        assert free, f"a circle among {sorted(edges)}"
        for name in free:
            del edges[name]


@pytest.mark.parametrize("floor", NEVER_TORCH)
def test_what_reads_rows_or_plans_never_imports_torch(floor):
    for name, path in MODULES.items():
        if group(name) == floor:
            assert not {other.split(".")[0] for other in imports(path)} & {"torch", "torchvision", "higher"}, name


def test_light_modules_load_nothing_heavy():
    light = LIGHT + [name for name in MODULES if group(name) in ("stats", "report", "suite", "ledger", _GROUND)]
    light += [name for name in MODULES if name.rpartition(".")[2].startswith("index")]
    light += [n for n in MODULES if group(n) == "tasks"] + ["bench.launch.driver", "bench.transfer.builtin"]
    light += [name for name in MODULES if group(name) == "metrics"]
    light += [
        "bench.backbones.small",
        "bench.backbones.vision",
        "bench.similarity.distances",
        "bench.similarity.scores",
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'torchvision', 'sklearn', 'matplotlib', 'statsmodels', 'PIL'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} loads {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_planning_and_reading_rows_load_no_torch(tmp_path):
    """The names at the top are lazy, and so is what they do."""
    code = (
        "import sys, bench\n"
        "from bench.errors import StoreError\n"
        "plan = bench.plan({'target_sizes': [20], 'seeds': 2, 'strategies': ['triangle', 'zero-shot'],"
        " 'pairs': [{'target': 'digits', 'sources': ['noise', 'printed-digits', 'MNIST']}]})\n"
        "assert sum(1 for _ in plan.trials()) > 50\n"
        "bench.negative_transfer, bench.select_depth, bench.Suite, bench.strategy, bench.task, bench.backbone\n"
        f"try:\n    bench.load_results({str(tmp_path / 'none')!r})\nexcept StoreError:\n    pass\n"
        "assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    import bench

    assert set(bench.__all__) == set(bench._HOMES)
    for name in bench.__all__:
        assert getattr(bench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bench.nothing


def test_modules_stay_short():
    long = {n: c for n, p in MODULES.items() if (c := p.read_text(encoding="utf-8").count("\n")) > MAX_MODULE_LINES}
    assert not long


def test_functions_stay_short():
    long = {}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node, clean=False) is not None
                said = first.end_lineno - first.lineno + 1 if documented else 0
                lines = node.end_lineno - node.lineno + 1 - said
                if lines > MAX_FUNCTION_LINES:
                    long[f"{name}.{node.name}"] = lines
    assert not long


def test_there_is_no_drawer():
    drawers = {"utils", "util", "misc", "helpers", "common", "tools"}
    assert not [name for name in MODULES if drawers & set(name.split("."))]


def test_files_that_are_no_modules_are_part_of_what_is_installed():
    package = REPOSITORY / "bench"
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    shipped = {path for pattern in settings["package-data"]["bench"] for path in package.glob(pattern)}
    others = {p for p in package.rglob("*") if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts}
    assert {"report.html", "py.typed"} <= {path.name for path in others}
    assert others <= shipped


def test_files_are_moved_into_place_by_one_module():
    assert [name for name, path in MODULES.items() if ".part" in _texts(path)] == ["bench.atomic_write"]


def _texts(path: Path) -> str:
    """Join the strings of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return " ".join(n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def test_higher_is_imported_in_one_module():
    users = [name for name, path in MODULES.items() if "higher" in {other.split(".")[0] for other in imports(path)}]
    assert users == ["bench.weighting.unrolled"]
