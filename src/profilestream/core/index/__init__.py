"""The segment index: which segments can have changed, found from thresholds rather than by evaluating all.

index        what is asked of it for a profile: who to look at, and whether their conditions hold
reading      from conditions to comparisons and their groups
probes       compiles what brings a profile's positions up to date
shapes       conditions as the index has them: `and` and `or` of comparisons; what is alike is compiled once
comparisons  a comparison, and what the group of those of one expression is to answer
groups       the kinds of groups: where the expression's value lies for a profile
keyed        the group of a map: a line for each of its keys
lines        constants in order, among which a value lies
dependents   who looks at a value, and under which guard
owners       who looks at which cuts, words or elements, and whose differ between two positions

An event costs what the different expressions that it feeds cost, never what the constants, words, keys and segments do;
and what truly lies between old and new.
"""

from profilestream.core.index.index import Index
from profilestream.core.index.probes import Probe

__all__ = ["Index", "Probe"]
