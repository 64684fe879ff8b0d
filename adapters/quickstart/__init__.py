"""The main job for a newcomer: a small Gemma 4 VL that learns to read numbers in pictures, on two cores."""
