"""Metrics: how good the predictions of a test set are."""
