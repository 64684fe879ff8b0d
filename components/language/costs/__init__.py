"""What a decoder layer costs one rank, part by part, in bytes kept and bytes alive for a moment (torch-free)."""
