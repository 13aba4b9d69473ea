"""The small network that learns to hear emotions from labels and from teachers."""
