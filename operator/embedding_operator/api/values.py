"""Scalar types of the API: every string has a longest length (the server prices CEL by it) and says how it may look."""

from typing import Annotated

from pydantic import Field

from .cel import Keys, Rule

_SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"

OWN_NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
"""Names of our kinds: they become Service names (DNS-1035), which may not start with a digit."""
OWN_NAME_LENGTH = 40

OwnName = Annotated[
    str,
    Field(min_length=1, max_length=OWN_NAME_LENGTH),
    Rule(f"self.matches('^{OWN_NAME}$')", "must be lower-case letters, digits and dashes, starting with a letter"),
]
"""Name of an EmbeddingModel, VectorIndex or SearchService."""

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Rule(
        f"self.matches('^{_SUBDOMAIN}$')",
        "must be the name of an object: lower-case letters, digits, dashes and dots",
    ),
]
"""Name of an object in the same namespace."""

DataKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Rule(
        "self.matches('^[-._a-zA-Z0-9]+$')",
        "must be a key of the object's data: letters, digits, dashes, dots and underscores",
    ),
]
"""Key in the data of a Secret or ConfigMap."""

HostName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Rule(
        f"self.matches('^([*][.])?{_SUBDOMAIN}$')",
        "must be a host name such as search.example.com or *.example.com, without scheme, port or path",
    ),
]

FilePath = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rule(
        "self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')",
        "must be an absolute path without .. parts, such as /models/minilm",
    ),
]

HubRepository = Annotated[
    str,
    Field(min_length=1, max_length=193),
    Rule(
        "self.matches('^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$')",
        "must be a repository such as sentence-transformers/all-MiniLM-L6-v2, not a URL",
    ),
]

Commit = Annotated[
    str,
    Field(max_length=64),
    Rule(
        "self.matches('^[0-9a-f]{40}$')",
        "must be the full commit hash of 40 hex digits: branches and tags move, so they can't pin weights",
    ),
]

Sha256 = Annotated[
    str,
    Field(max_length=80),
    Rule(
        "self.matches('^[0-9a-f]{64}$')",
        "must be the SHA-256 of the file as 64 lower-case hex digits (sha256sum prints it)",
    ),
]

PinnedImage = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Rule(
        "self.matches('^[a-zA-Z0-9][-._:/a-zA-Z0-9]*@sha256:[0-9a-f]{64}$')",
        "must be an image pinned by digest, such as registry.example.com/minilm@sha256:<64 hex digits>: tags move",
    ),
]

DownloadURL = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    Rule(
        "isURL(self) && url(self).getScheme() in ['https', 'http'] && url(self).getHostname() != ''",
        "must be a complete URL that starts with https:// or http://",
    ),
    Rule(
        "!self.matches('^[a-z]+://[^/?#]*@')",
        "must not carry a user or password: a spec is no place for secrets",
    ),
]

Text = Annotated[str, Field(max_length=1024)]
"""A short text of status."""

Message = Annotated[str, Field(max_length=32_768)]
"""A text for people: what is the matter, and what to do."""

Timestamp = Annotated[str, Field(max_length=64), Keys((("format", "date-time"),))]
"""RFC 3339, in UTC and whole seconds: 2026-01-31T12:00:00Z."""

Fraction = Annotated[str, Field(max_length=32)]
"""A fraction in status, as text: 0.9987."""

Count = Annotated[int, Field(ge=0, le=2**53 - 1), Keys((("format", "int64"),))]
"""A number of things in status."""

Percent = Annotated[int, Field(ge=0, le=100)]

Replicas = Annotated[int, Field(ge=0, le=1000)]
"""A number of pods."""

Seconds = Annotated[int, Field(ge=0, le=31_536_000)]
"""A time of at most a year."""

Rate = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""So many a minute."""
