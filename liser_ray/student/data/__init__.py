"""What the student learns from: labeled speech and the labels table, as batches of 3-s segments."""
