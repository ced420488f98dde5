"""Why a model could not be prepared. Every message names the culprit and says what to do next."""

from embedding_serving.contract.reports import Outcome


class PrepareError(Exception):
    """Base of all refusals; `outcome` is what the operator reads."""

    outcome: Outcome

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnavailableError(PrepareError):
    """Trouble that may pass: network, server, disk space. The pod is restarted and tries again."""

    outcome = Outcome.UNAVAILABLE


class SourceNotFoundError(PrepareError):
    outcome = Outcome.SOURCE_NOT_FOUND


class HashMismatchError(PrepareError):
    outcome = Outcome.HASH_MISMATCH


class UnsafeWeightsError(PrepareError):
    outcome = Outcome.UNSAFE_WEIGHTS


class UnsupportedModelError(PrepareError):
    outcome = Outcome.UNSUPPORTED_MODEL


class FingerprintMismatchError(PrepareError):
    outcome = Outcome.FINGERPRINT_MISMATCH
