"""Heads: what a task's kind decides of its targets, outputs, loss and predictions."""
