"""Built-in weightings of source examples: name -> module that registers it."""

BUILTIN: dict[str, str] = {"uniform": "bench.weighting.uniform"}
