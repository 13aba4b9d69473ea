"""Many students trained together, as one batched computation."""
