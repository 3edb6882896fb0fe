"""Believable customers: a deterministic generator of events that knows what it has made.

people      who there is: personas and habits, and what each customer will do
days        one customer's events, from a random generator of the customer's own
stream      all customers in order of arrival, with late events, duplicates and mistakes on request

`simulate(plan)` gives records in order of arrival, `knowledge(plan)` what a profile must come to. Both follow from the
plan alone: the same on any machine and any Python. Nothing here does any I/O.
"""

from profilestream.simulation.people import Habit, Known, Person, Plan, people
from profilestream.simulation.stream import Record, knowledge, simulate

__all__ = ["Habit", "Known", "Person", "Plan", "Record", "knowledge", "people", "simulate"]
