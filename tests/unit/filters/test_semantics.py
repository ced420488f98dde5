"""A filter finds what its meaning says, whether its fields are declared or not."""

import random

from hypothesis import HealthCheck, given, note, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from embedding_serving.contract.index import FieldType
from embedding_serving.filters import parse
from fixtures import filter_oracle as oracle
from fixtures.filter_oracle import Document
from unit.filters.store import filled, found

SEED = random.SystemRandom().randrange(2**32)

declarations = st.dictionaries(oracle.keys, st.sampled_from(FieldType), max_size=6).map(
    lambda types: {name: (number, type_) for number, (name, type_) in enumerate(types.items())}
)


@seeded(SEED)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(oracle.metadata, max_size=6), st.lists(oracle.filters, min_size=1, max_size=6), declarations, st.integers(0, 4))
def test_sql_finds_what_the_filter_means(metadata, filters, declared, above):  # type: ignore[no-untyped-def]
    note(f"seed: {SEED}")
    documents = [Document(f"d{number}", one) for number, one in enumerate(metadata)]
    every = {key: (number, FieldType.DATE_TIME) for number, key in enumerate(sorted(_keys(filters)))}
    for fields in ({}, declared, every):
        connection = filled(documents, fields)
        for written in filters:
            meant = [row for row, one in enumerate(documents, 1) if row > above and oracle.matches(written, one)]
            assert found(connection, parse(written), fields, above) == meant, (written, fields)
        connection.close()


def _keys(written: object) -> set[str]:
    if isinstance(written, dict):
        own = {written["key"]} if "key" in written else set()
        return own.union(*(_keys(value) for value in written.values()))
    return set[str]().union(*(_keys(one) for one in written)) if isinstance(written, list) else set()
