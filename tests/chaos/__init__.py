"""Chaos: everything that can be killed is killed under load; afterwards an oracle reads the raw topics and compares.

`test_chaos.py` is the short run of the test suite, `python -m tests.chaos.soak` the long one. Both are `running.py`.
"""
