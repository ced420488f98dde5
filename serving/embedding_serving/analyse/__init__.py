"""Role `analyse`: measures a generation that is to serve against the one that does; the operator judges the numbers.

main.py      settings in, a report in the termination message out
side.py      one generation as a gateway would ask it
sample.py    which documents queries are made of
golden.py    queries with known answers, and what is wrong with those that say nothing
measure.py   recall, overlap, latency and golden queries
"""
