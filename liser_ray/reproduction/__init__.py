"""The papers' tables and figure, run again."""
