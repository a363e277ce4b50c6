"""What the command imports: nothing heavy before it is needed, and never torch to count or to list."""

from __future__ import annotations

import json
import subprocess
import sys

TORCH = {"torch", "torchvision"}
HEAVY = TORCH | {"pandas", "scipy", "statsmodels", "matplotlib", "sklearn", "PIL", "pyarrow"}

PROGRAM = """
import json, sys
from bench.cli import main
loaded = {}
for arguments, forbidden in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as done:
        code = done.code
    found = sorted(set(forbidden) & set(sys.modules))
    print("RESULT " + json.dumps([arguments, code, found]), file=sys.stderr)
"""


def test_light_verbs_import_nothing_heavy(finished, tmp_path):
    suite, out, _ = finished
    kinds = ("tasks", "changes", "backbones", "strategies", "adaptations", "measures", "weightings", "metrics")
    # In one process and in this order: what a verb must not import, those before it must not have either.
    verbs = [(["--help"], HEAVY), (["--version"], HEAVY), (["run", "--help"], HEAVY), (["list"], HEAVY)]
    verbs += [(["list", kind], HEAVY) for kind in kinds]
    verbs += [(["plan", str(suite), "--out", str(out)], HEAVY), (["check", str(suite)], HEAVY)]
    more = ["plan", str(suite), "--out", str(out), "--seeds"]
    verbs += [([*more, "0-3"], HEAVY), ([*more, "5"], TORCH)]  # times of the same shapes; nothing stored
    verbs += [(["status", str(out)], TORCH), (["table", str(out)], TORCH), (["diff", str(out), str(out)], TORCH)]
    verbs += [(["export", str(out), "--out", str(tmp_path / "results" / "small")], TORCH)]
    verbs += [(["report", str(out), "--out", str(tmp_path / "report.html")], TORCH)]
    verbs += [(["reproduce", "all", "--results", str(tmp_path / "results"), "--out", str(tmp_path)], TORCH)]
    payload = json.dumps([(arguments, sorted(names)) for arguments, names in verbs])
    done = subprocess.run([sys.executable, "-c", PROGRAM, payload], capture_output=True, text=True, timeout=120)
    results = [json.loads(line[7:]) for line in done.stderr.splitlines() if line.startswith("RESULT ")]
    assert [arguments for arguments, _, _ in results] == [arguments for arguments, _ in verbs]
    for arguments, code, found in results:
        assert code == 0, (arguments, done.stderr)
        assert found == [], arguments


def test_the_watch_over_imports_would_notice():
    payload = json.dumps([(["--version"], ["json"])])
    done = subprocess.run([sys.executable, "-c", PROGRAM, payload], capture_output=True, text=True, timeout=120)
    assert '["json"]' in done.stderr


def test_the_package_and_its_driver_are_light():
    program = (
        f"import bench, bench.api, bench.launch.driver, sys; print(*sorted(set({sorted(HEAVY)}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == ""
