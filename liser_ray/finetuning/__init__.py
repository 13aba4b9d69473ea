"""Training of teachers, one per fold. What is said and done for all kinds is here, a kind's own in its `Method`."""
