"""Methods: what a step of training minimises."""
