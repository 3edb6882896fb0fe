"""`demo`: CDNOW's real orders through the real programs, and a second, naive computation that must agree.

orders      the file as orders, and as events for `produce`
expected    what the file says must come out, computed without profilestream's core
programs    the worker and the emitter as processes of their own
bulk        all orders: init, produce, fold, announce; what came out
check       what came out against what was expected
live        a year of simulated customers behind the orders, checked by what their generator knows
latency     single orders from Kafka to Redis and to a subscriber
traces      what must not be there yet on servers that are not the demo's own, and is removed afterwards
"""
