"""How source examples are weighted while the source model is trained."""
