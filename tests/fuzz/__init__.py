"""Mutated uploads by the hundred thousand: `python -m tests.fuzz --help`.

Each case has a number, and the number alone decides what it is: a failure is found again by it.
"""
