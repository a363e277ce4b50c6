"""Built-in backbones: name -> module that registers it."""

from bench.backbones.vision_names import VISION_NAMES

BUILTIN: dict[str, str] = {
    "mlp": "bench.backbones.small",
    "cnn": "bench.backbones.small",
    "lenet": "bench.backbones.lenet",
    **dict.fromkeys(VISION_NAMES, "bench.backbones.vision"),
}
