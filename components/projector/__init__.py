"""Projectors from a tower to the embeddings of a decoder."""
