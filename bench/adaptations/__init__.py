"""Adaptations: what trains above the frozen depth, parameter by parameter."""
