"""Built-in changes to tasks: name -> module that registers it."""

BUILTIN: dict[str, str] = {
    "classes": "bench.tasks.changes_data",
    "class_half": "bench.tasks.changes_data",
    "example_half": "bench.tasks.changes_data",
    "imbalance": "bench.tasks.changes_data",
    "size_limit": "bench.tasks.changes_data",
    "label_noise": "bench.tasks.changes_labels",
    "swapped_labels": "bench.tasks.changes_labels",
    "shuffled_labels": "bench.tasks.changes_labels",
    "mix": "bench.tasks.changes_mix",
    "pixel_permutation": "bench.tasks.changes_inputs",
    "inversion": "bench.tasks.changes_inputs",
    "rotation": "bench.tasks.changes_inputs",
    "blur": "bench.tasks.changes_inputs",
    "input_noise": "bench.tasks.changes_inputs",
}
