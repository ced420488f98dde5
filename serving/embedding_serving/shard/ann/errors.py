"""What the index refuses, typed."""


class AnnError(Exception):
    """Base of the errors of the index. The store is untouched by any of them."""


class UnsupportedIndexTypeError(AnnError):
    """The type of index can't be had here; the message names those that can."""


class DamagedCacheError(AnnError):
    """A file of the cache is not what its manifest says. Never reaches a caller: the cache is built anew."""


class BuildFailedError(AnnError):
    """The build process ended without a result; the message carries the end of what it said."""
