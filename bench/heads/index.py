"""Built-in kinds of task: name -> module that registers its head."""

BUILTIN: dict[str, str] = {
    "single-label": "bench.heads.single_label",
    "multi-label": "bench.heads.multi_label",
    "regression": "bench.heads.regression",
    "unlabelled": "bench.heads.unlabelled",
}
