"""A fuzzer of the project's own: damaged and hostile input of every kind must end in a result or in one clear line.

    python -m tests.fuzz --cases 1000 --seed 0 --kind motion checkpoint

Cases of a kind are drawn from the seed and the case's number, so that each can be had again. See `run.py`.
"""
