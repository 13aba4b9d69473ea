"""The student's training: a run for each fold and seed, from labeled speech and the labels table to a scored network."""
