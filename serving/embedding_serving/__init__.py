"""The data plane: one image whose role is chosen by the command (prepare, embed, …)."""

__version__ = "0.1.0"
