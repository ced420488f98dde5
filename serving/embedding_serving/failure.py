"""Why this process cannot serve: what the operator reads in the pod's termination message."""

from .contract.reports import Outcome


class StartFailed(Exception):
    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
