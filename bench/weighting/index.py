"""Built-in weightings of source examples: name -> module that registers it."""

BUILTIN: dict[str, str] = {
    **dict.fromkeys(("uniform", "random", "loss", "density-ratio", "oracle"), "bench.weighting.controls"),
    **dict.fromkeys(("l2rw", "mw-net", "per-example", "per-class", "per-domain"), "bench.weighting.learned"),
}
