"""The paper's numbers, tables and figures, rebuilt from the stored rows of the suites that it is about."""
