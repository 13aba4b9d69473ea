"""Recordings and labeled sets: manifests, probing, spans, the plan."""
