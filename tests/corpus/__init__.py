"""Real texts found on the machine, as documents to search: docstrings, package descriptions, man page summaries.

    PYTHONPATH=tests python -m corpus --limit 20000 > docs.ndjson

Nothing is fetched and no module is imported. The same machine gives the same documents in the same order, and any
prefix is a fair sample of all of them.
"""

from .document import Document
from .selection import Depth, NoTexts, documents

__all__ = ["Depth", "Document", "NoTexts", "documents"]
