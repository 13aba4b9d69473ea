"""The two large models that label: speech (HuBERT and its kin) and facial expression (S2D and others)."""
