"""Other systems under the same load. Their clients run in an environment of their own (`requirements.txt`, by `lock`)."""
