"""What the worker costs, measured: run by hand, never by the tests (README.md)."""
