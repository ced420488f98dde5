"""The controller: watches the three kinds and keeps the cluster as they say."""

__version__ = "0.1.0"
