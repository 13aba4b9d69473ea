"""The paper's tables and figure, run again."""
