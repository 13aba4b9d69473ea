"""The prosodic teacher: descriptors of the voice every 10 ms, and a residual network on them."""
