"""Tasks: labelled arrays with a train pool and a fixed test set, and changes to them."""
