"""What is compared: each module here is a program that empties a queue, and says what that cost.

`contract` is what they agree on with the runner (`benchmarks.compare`), `work` what the peers do
with a message.
"""
