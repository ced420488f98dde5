"""Vectors by formula, as hard to search as those of real texts: 1,000 clusters, each of low rank and stretched.

A cluster is a centre plus a Gaussian in RANK directions whose spread falls off, plus a little noise in all of them.
DECAY, SPREAD and NOISE are chosen so that a million of them have the local intrinsic dimension of 100,000 real ones;
`python -m benchmarks.search.synthetic` prints both, and how near the neighbours are.
"""

import numpy as np
import numpy.typing as npt

VERSION = 1
"""Rises with every change below: data sets of another formula are other data sets."""
CLUSTERS = 1_000
RANK = 128
DECAY = 0.6
SPREAD = 1.6
NOISE = 0.2
Floats = npt.NDArray[np.float32]


def synthetic(count: int, dimensions: int, seed: int = 1) -> Floats:
    """float32 [count, dimensions], L2-normalised, in random order. The same for the same arguments."""
    random = np.random.default_rng(seed)
    centres = _unit(random.standard_normal((CLUSTERS, dimensions), np.float32))
    weights = random.dirichlet(np.full(CLUSTERS, 1.0))
    members = random.choice(CLUSTERS, count, p=weights)
    vectors = np.empty((count, dimensions), np.float32)
    scales = (np.arange(1, RANK + 1, dtype=np.float32) ** -DECAY).astype(np.float32)
    scales *= SPREAD / np.linalg.norm(scales)
    for cluster in range(CLUSTERS):
        places = np.flatnonzero(members == cluster)
        directions, _ = np.linalg.qr(random.standard_normal((dimensions, RANK), np.float32))
        within = (random.standard_normal((len(places), RANK), np.float32) * scales) @ directions.T
        noise = random.standard_normal((len(places), dimensions), np.float32) * (NOISE / dimensions**0.5)
        vectors[places] = centres[cluster] + within + noise
    return _unit(vectors)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    from .dataset import local_intrinsic_dimension, nearest
    from .texts import texts
    from .vectors import embedded

    real = embedded(texts())
    made = synthetic(1_001_000, real.documents.shape[1])
    for name, documents, queries in (("real", real.documents, real.queries), ("synthetic", made[1_000:], made[:1_000])):
        cosines = nearest(documents, queries, 100)
        print(
            f"{name:>9}: {len(documents):,} vectors, local intrinsic dimension "
            f"{local_intrinsic_dimension(documents, queries):.1f}, mean cosine to neighbour 1 / 10 / 100: "
            f"{cosines[:, 0].mean():.3f} / {cosines[:, 9].mean():.3f} / {cosines[:, 99].mean():.3f}"
        )
