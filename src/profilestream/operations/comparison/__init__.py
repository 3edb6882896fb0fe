"""`compare`: a generation's profiles beside the live ones.

reasons  why a trait or a segment may differ, from both definitions and records; pure
pairs    one customer's two profiles; pure
levels   pages of both, read so that the same events are in them
result   what was found of all customers, and its JSON; pure
"""
