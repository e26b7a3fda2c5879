"""Room lib."""
