"""Measurements against real servers; `docs/benchmarks.md` says how to run them and what came out."""
