"""What becomes of a run whose machine, disk, files or processes fail: ``python -m tests.reliability``."""
