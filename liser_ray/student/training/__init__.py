"""The student's training: for each fold and seed, from labeled speech and the labels table to a scored network."""
