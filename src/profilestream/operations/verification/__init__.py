"""`verify`: customers recomputed from the log by the oracle, and held against what Redis has.

recomputing   one customer's records folded the naive way
checking      one customer's profile against that; pure
tally         what was found of all customers, and how it reads as JSON
choosing      which customers: a sample by hash, all, or those named
holding       the chosen customers' records of a shard, in bounded memory
passes        one pass over a shard's log for all of them
"""
