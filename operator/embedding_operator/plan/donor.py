"""Which generation gives its vectors to the one that is built: of what was given up, so that little is embedded twice."""

from embedding_serving.contract.route import GenerationRoute

from .world import World


def is_wanted(w: World) -> bool:
    """Whether the spec asks for another generation than the one that takes writes, which was not turned down."""
    wanted, refused = w.wish.inputs, w.route.refused
    if wanted is None or wanted.met_by(w.writer):
        return False
    return not (refused and refused.input_hash == wanted.hash)


def suits(w: World, one: GenerationRoute) -> bool:
    """Whether its vectors are of the space of what is to be built. A copy of what serves takes those that serve."""
    draft = w.wish.draft
    return is_wanted(w) and draft is not None and draft.fingerprint == one.fingerprint != w.writer.fingerprint


def donor_of(w: World) -> GenerationRoute | None:
    """Where a rebuild is given up: it, or the donor that it had, whichever has embedded more."""
    before = w.route.donor
    fitting = [w.other] if suits(w, w.other) and _holds(w, w.other) else []
    fitting += [before] if before and suits(w, before) else []
    return max(fitting, key=lambda one: _holds(w, one), default=None)


def _holds(w: World, one: GenerationRoute) -> int:
    """Documents that it has, by those of its shards that answer; 0 where it ever took a write."""
    infos = [reader.info for reader in w.readers_of(one) if reader.info]
    return 0 if any(info.opened_at for info in infos) else sum(info.documents for info in infos)
