"""Filters over document metadata: their grammar, and their SQL; keyword search beside them.

parse.py        JSON to a filter, errors by path
grammar.py      a filter as a tree, and as canonical JSON
normal.py       one form for filters that say the same
compile.py      a filter to a SELECT of row numbers
stored_json.py  conditions on members that have no index
entries.py      what metadata gives the index of declared fields
sizes.py        how many rows conditions name
rows.py         row numbers as an array
keywords.py     words to documents by BM25

What matches: a value that is an array matches if one of its elements does (one level; arrays in arrays and objects are there,
but equal nothing). Dots in a key lead into objects, not into arrays. Types are strict: 1 is neither "1" nor true, and is 1.0.
Dates are compared as instants by `range` alone, in strings that are RFC 3339 date-times with an offset; `match` compares them
as strings. A declared field answers exactly as an undeclared one, faster.
"""

from .compile import Query, compile_filter
from .entries import Declared, field_entries, metadata_text
from .errors import FilterError
from .grammar import Filter
from .parse import parse
from .rows import row_numbers

__all__ = [
    "Declared",
    "Filter",
    "FilterError",
    "Query",
    "compile_filter",
    "field_entries",
    "metadata_text",
    "parse",
    "row_numbers",
]
