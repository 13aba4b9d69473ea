"""What every command needs around it: errors in the user's words, exit codes, progress, the Ray cluster."""
