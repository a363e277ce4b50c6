"""Find the line of a suite file where a problem stands."""

from __future__ import annotations

import re

from bench.errors import Problem

_HEADER = re.compile(r"\s*\[")
_START = re.compile(r"\s*(?:\[|[\w\"'.-]+\s*=)")


def with_line(problem: Problem, text: str) -> Problem:
    """Add to the problem's place the line of the file that it speaks of, as far as that can be told.

    Parameters
    ----------
    problem : Problem
        Its place leads there by keys and positions: ``pairs[0].sources[1]``.
    text : str
        The file; empty for a suite that is none.
    """
    lines = text.splitlines()
    start, end = _region(problem.place, lines)
    if start is None:
        return problem
    quoted = re.search(r'"([^"]+)"', problem.message)
    if quoted:
        word = re.compile(rf"(?<![\w.-]){re.escape(quoted[1])}(?![\w.-])")
        found = [n for n in range(start, end) if word.search(lines[n].split("#")[0])]
        start = found[0] if len(found) == 1 else start
    return Problem(f"{problem.place} (line {start + 1})", problem.message)


def _region(place: str, lines: list[str]) -> tuple[int | None, int]:
    """Return the lines of the innermost part of a place that can be found: first, and one after the last."""
    first, start, end = None, 0, len(lines)
    for part in place.split("."):
        name, number = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", part, re.DOTALL).groups()
        key = rf"[\"']?{re.escape(name)}[\"']?"
        stands = re.compile(rf"\s*\[+\s*(?:.*\.\s*)?{key}\s*\]|(?:^|[{{,])\s*{key}\s*=")
        heads = [n for n in range(start, end) if stands.match(lines[n]) or stands.search(lines[n].split("#")[0])]
        tables = [n for n in heads if lines[n].lstrip().startswith("[[")]
        if number is not None and int(number) < len(tables):
            heads = [tables[int(number)]]
        if not heads:  # [tasks.noisy] alone, with no [tasks] above it
            continue
        if len(heads) > 1:
            break
        first = start = heads[0]
        ends = _HEADER if _HEADER.match(lines[start]) else _START
        end = next((n for n in range(start + 1, end) if ends.match(lines[n])), end)
    return first, end
