"""Builds the container image and proves, by running it, what its Dockerfile says."""
