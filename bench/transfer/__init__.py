"""Strategies over the triangle 0 <= f <= n <= L."""
