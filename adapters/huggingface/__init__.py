"""Hugging Face: configurations in, weights in and out. The only place that knows names of checkpoints."""
