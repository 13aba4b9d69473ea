"""What is typed: settings of the jobs, and the subcommands of ``liser-ray``. Nothing below imports it."""
