"""Built-in strategies: name -> module that registers it."""

BUILTIN: dict[str, str] = dict.fromkeys(
    (
        "scratch",
        "scratch-long",
        "joint",
        "zero-shot",
        "feature-extraction",
        "fine-tune",
        "layer-transfer",
        "layer-transfer-tuned",
        "triangle",
        "linear-probe-fine-tune",
        "gradual-unfreezing",
    ),
    "bench.transfer.builtin",
)
