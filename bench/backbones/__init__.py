"""Networks as ordered lists of named blocks, then a head."""
