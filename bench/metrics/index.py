"""Built-in metrics: name -> module that registers it."""

BUILTIN: dict[str, str] = {
    "accuracy": "bench.metrics.accuracy",
    "balanced-accuracy": "bench.metrics.balanced_accuracy",
    "macro-f1": "bench.metrics.macro_f1",
    "auroc": "bench.metrics.auroc",
    "log-loss": "bench.metrics.log_loss",
    "expected-calibration-error": "bench.metrics.calibration",
    "r2": "bench.metrics.r2",
    "mae": "bench.metrics.mae",
    "mean-average-precision": "bench.metrics.average_precision",
}
