"""Plans for training jobs: what trains, what fits, how fast. Answers without torch."""
