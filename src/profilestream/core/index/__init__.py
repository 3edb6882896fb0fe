"""The segment index: which segments can have changed, found from thresholds rather than by evaluating all.

index       every segment's conditions, the probes that keep a profile's positions, and the conditions' truth there
shapes      conditions as the index has them: `and` and `or` of comparisons; what is alike is compiled once
groups      one expression each, where its value lies for a profile, and who looks at that

An event costs what the different expressions that it feeds cost, never what the constants, words, keys and segments do;
and what truly lies between old and new.
"""

from profilestream.core.index.index import Index, Probe

__all__ = ["Index", "Probe"]
