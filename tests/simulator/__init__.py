"""A deterministic simulator: the real worker and emitter code on a simulated Kafka, Redis, network and clock.

One seed is one world: what happens when, which faults strike where, and what customers do, all follows from it. See
docs/testing.md.
"""
