"""Which vectors: those of real texts, or as many as are wanted by formula."""

from .dataset import Dataset, dataset, subset
from .synthetic import VERSION, synthetic
from .texts import QUERIES, texts
from .vectors import embedded

DATASETS = ("real", "synthetic")


def choose(kind: str, documents: int) -> Dataset:
    """Raises TooFewTexts, corpus.NoTexts."""
    source = texts()
    vectors = embedded(source)
    payloads = [(one.text, dict(one.metadata)) for one in source.documents]
    dimensions = vectors.documents.shape[1]
    if kind == "synthetic":
        made = synthetic(documents + QUERIES, dimensions)
        name = f"synthetic-{VERSION}-{documents}"
        return dataset(name, made[QUERIES:], made[:QUERIES], subset(payloads, documents), vectors.fingerprint)
    count = min(documents, len(vectors.documents))
    name = f"{source.hash}-{vectors.fingerprint[:16]}-{count}"
    return dataset(name, vectors.documents[:count], vectors.queries, subset(payloads, count), vectors.fingerprint)
