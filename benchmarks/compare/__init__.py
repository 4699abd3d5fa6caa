"""What the daemon costs beside what a user would pick instead: `python -m benchmarks.compare`."""
