"""Built-in adaptations: name -> module that registers it."""

BUILTIN: dict[str, str] = {
    "full": "bench.adaptations.full",
    "bias": "bench.adaptations.bias",
    "norm": "bench.adaptations.norm",
    "lora": "bench.adaptations.lora",
}
