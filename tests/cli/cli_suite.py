"""A suite that runs in a second."""

SUITE = """\
backbones = [{ backbone = "cnn", channels = [4, 4], name = "cnn" }]
strategies = ["zero-shot", "feature-extraction", "fine-tune"]
target_sizes = [20, 40]
seeds = 2
image_size = 8

[tasks]
near = { task = "printed-digits", n = 200, n_test = 50, image_size = 8 }
noisy = { task = "near", label_noise = 0.5 }

[[pairs]]
sources = ["near", "noisy"]
target = "digits"

[recipe]
steps = 5
learning_rates = [0.1]
checkpoints = 1

[source_recipe]
steps = 5
"""
# Scratch: 2 sizes x 2 seeds; a source: zero-shot 2 seeds, and 3 points x 2 sizes x 2 seeds.
TRIALS = 4 + 2 * (2 + 3 * 4)
