"""What a planted fault is: some changes in the product, and the invariants of which one must notice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """In the source of the function ``where`` (module:name), ``before``, which occurs once, becomes ``after``."""

    where: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault; one of the invariants in ``caught_by`` must catch it."""

    name: str
    caught_by: tuple[str, ...]
    changes: tuple[Change, ...]


def one_change(name: str, caught_by: str, where: str, before: str, after: str) -> Mutant:
    """Return a mutant of one change that one invariant must catch."""
    return Mutant(name, (caught_by,), (Change(where, before, after),))
