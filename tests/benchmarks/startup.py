"""Start-up of the command: the verbs that count and read never import torch or torchvision.

Each verb runs in a process of its own and in turn with ``python -c "import torch"``. A verb that imports
torch fails its aim, however fast it was. What `plan` and `table` read is a small finished run, made up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .growth import write_ledger
from .ratios import Measured, Options, alternate

ROUNDS = 7
HEAVY = ("torch", "torchvision")
SUITE = Path(__file__).resolve().parents[2] / "experiments" / "default.toml"
AIM = "<= 1"

# Runs the command and says, past its own output, which of the heavy packages it has imported.
PROGRAM = """
import json, sys
from bench.cli import main
try:
    main(sys.argv[2:])
except SystemExit as done:
    code = done.code
found = [name for name in json.loads(sys.argv[1]) if name in sys.modules]
print("RESULT " + json.dumps([code, found]), file=sys.stderr)
"""


def verbs(folder: Path) -> dict[str, list[str]]:
    """Return the command lines by the name that the table gives them."""
    return {
        "--help": ["--help"],
        "list": ["list"],
        "plan": ["plan", str(SUITE), "--out", str(folder)],
        "table": ["table", str(folder)],
    }


def imported(arguments: list[str]) -> list[str]:
    """Return which heavy packages a verb imports.

    Raises
    ------
    RuntimeError
        When the verb fails.
    """
    command = [sys.executable, "-c", PROGRAM, json.dumps(HEAVY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line[7:] for line in done.stderr.splitlines() if line.startswith("RESULT ")]
    code, found = json.loads(told[-1]) if told else (done.returncode, [])
    if code != 0:
        raise RuntimeError(f"ntbench {' '.join(arguments)} failed: {done.stderr}")
    return found


def measure(options: Options) -> list[Measured]:
    """Measure the verbs' time relative to importing torch."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        write_ledger(folder, 1000)
        lines = verbs(folder)
        heavy = {name: imported(arguments) for name, arguments in lines.items()}
        commands = {name: [sys.executable, "-m", "bench", *arguments] for name, arguments in lines.items()}
        commands["import torch"] = [sys.executable, "-c", "import torch"]
        watch = alternate(
            {
                name: lambda c=command: subprocess.run(c, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                for name, command in commands.items()
            },
            options.rounds or ROUNDS,
        )
    for name, seconds in watch.seconds.items():
        also = f", imports {' and '.join(heavy[name])}" if heavy.get(name) else ""
        print(f"{name:<13} {sorted(seconds)[len(seconds) // 2]:.2f} s{also}")
    return [
        Measured(f"startup: ntbench {name}", "import torch", watch.ratios(name, "import torch"), AIM, bool(heavy[name]))
        for name in lines
    ]
