"""The training loop and the protocol around it."""
