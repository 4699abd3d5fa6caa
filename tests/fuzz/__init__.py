"""Hostile input of every kind that comes from outside: whatever is drawn, a rule holds."""
