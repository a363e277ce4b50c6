"""Measures of how near a source is to a target."""
