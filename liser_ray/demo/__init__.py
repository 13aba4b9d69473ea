"""A small generated corpus and small teachers, so that everything runs anywhere."""
