"""Looks at the world for one key: live reads, never a cache, since a cache can hold what is long gone."""
