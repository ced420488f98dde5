"""Calls to pods of other roles: where they are, until when an answer is worth something, and the encoder's in full."""
