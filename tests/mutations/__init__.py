"""Ways to break the engine, and which test notices each: `python -m tests.mutations`."""
