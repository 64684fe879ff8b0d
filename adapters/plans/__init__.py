"""Plans: what must be asked of torch for them, and plans as files that other programs read, side by side, on a page."""
