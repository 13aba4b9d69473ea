"""The labeling job: schema, the Ray Data pipeline, resume, progress, run card."""
