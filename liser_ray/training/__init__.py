"""What every training has in common, of teachers and of students."""
