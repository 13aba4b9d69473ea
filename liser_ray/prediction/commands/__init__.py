"""The commands of ``liser-ray``, a module each."""
