"""What a decoder computes and sends on one rank, operation by operation (torch-free)."""
