"""Suites: a file or an object that names tasks, pairs, strategies, sizes and seeds."""

from bench.suite.load import check, load_suite
from bench.suite.model import Pairs, Recipe, Statistics, Suite, parse_seeds
from bench.suite.plan import Plan, Selection

__all__ = ["Pairs", "Plan", "Recipe", "Selection", "Statistics", "Suite", "check", "load_suite", "parse_seeds"]
