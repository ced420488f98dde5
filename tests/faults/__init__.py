"""Faults on purpose: power cuts, kills, bad disks; and what holds all the same.

powerloss.c   a VFS under SQLite that writes down what a power cut could undo
recording.py  builds and loads it; a recording as records
disk.py       what a disk may hold after the power went off at a record
promises.py   what was acknowledged by then, and what may be either way
memory.py     directories whose syncs cost nothing
killer.py     SIGKILL at drawn moments
lives.py      a shard and its copy at work, from one power cut to the next
audit.py      counters, digest and index entries of a store, counted again from its tables
"""
