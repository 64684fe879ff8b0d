"""What edges compute: embeddings after placement, masks, positions."""
