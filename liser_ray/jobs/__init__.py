"""The jobs: from settings to work and what is printed of it. Each is a script in ``jobs/`` and a command."""
