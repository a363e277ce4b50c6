"""Built-in tasks: name -> module that registers it."""

from bench.tasks.vision_names import VISION_NAMES

BUILTIN: dict[str, str] = {
    "digits": "bench.tasks.digits",
    "printed-digits": "bench.tasks.glyphs",
    "glyphs": "bench.tasks.glyphs",
    "patches": "bench.tasks.patches",
    "noise": "bench.tasks.noise",
    "moons": "bench.tasks.moons",
    "image-folder": "bench.tasks.files",
    "npz": "bench.tasks.files",
    "table": "bench.tasks.files",
    **dict.fromkeys(VISION_NAMES, "bench.tasks.vision"),
}
