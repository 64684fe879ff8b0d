"""What plans must ask torch for: the inventory of a model, and whether a plan's shards are real."""
