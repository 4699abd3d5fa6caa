"""The fault campaign: what RabbitMQ confirmed, under every fault we can think of, is not lost.

`make chaos` runs all of it, `make chaos ARGS="NAME ..."` single faults, `make chaos ARGS=--list`
tells what there is.  RELIABILITY.md says what it proves.

    scenario.py   what a fault is: a name, a sentence, and a coroutine that is given an arena
    arena.py      where it takes place: RabbitMQ, a way to it, publishers, a daemon; the checker
    scenarios/    the faults, a module for each thing that can break
    runner.py     runs them, side by side where nothing is measured
    report.py     what is printed, and what RELIABILITY.md quotes
    soak.py       a random fault every few seconds, for as long as one likes
"""
