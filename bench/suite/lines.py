"""Find the line of a suite file where a problem stands."""

from __future__ import annotations

import re

from bench.errors import Problem

_HEADER = re.compile(r"\s*\[")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{},]|[^\s"\'#\[\]{},]+')
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
        if number is not None and not tables:
            after = _element(lines, start, int(number) + 1, end)
            first = start = _element(lines, start, int(number), start)
            end = max(after, start + 1)
    return first, end


def _element(lines: list[str], start: int, number: int, otherwise: int) -> int:
    """Return the line on which an element of a list begins, counted from 0; `otherwise` where it has no such."""
    depth, count, fresh = 0, -1, False
    text = lines[start].partition("=")[2]
    for line, rest in enumerate([text, *lines[start + 1 :]], start):
        for token in _TOKEN.findall(rest):
            if token.startswith("#"):
                break
            if depth == 1 and fresh and token not in "],":
                count, fresh = count + 1, False
                if count == number:
                    return line
            if token in "[{":
                depth += 1
                fresh = fresh or depth == 1
            elif token in "]}":
                depth -= 1
                if depth == 0:
                    return otherwise
            elif token == "," and depth == 1:
                fresh = True
    return otherwise
