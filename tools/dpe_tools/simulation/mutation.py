"""Plants the faults of ``mutants.py`` in the product, in this process, and runs seeds until each is caught."""

import importlib
import inspect
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from dpe_tools.simulation.mutant import Change, Mutant
from dpe_tools.simulation.mutants import MUTANTS
from dpe_tools.simulation.runner import run_one, workers


class StaleMutantError(Exception):
    """What a mutant changes is not in the source any more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a mutant: ``seed`` caught it by ``invariant``; or ``fault`` says why nothing did."""

    mutant: str
    invariant: str = ""
    seed: int | None = None
    fault: str = ""

    @property
    def is_caught(self) -> bool:
        """Whether an invariant that should catch it did."""
        return self.seed is not None

    def json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Change the product as a mutant says; StaleMutantError if its place is not found."""
    with ExitStack() as undo:
        for change in mutant.changes:
            function = _function(change.where)
            undo.callback(setattr, function, "__code__", function.__code__)
            function.__code__ = _changed(function, change)
        yield


def _function(where: str) -> FunctionType:
    module, _, name = where.partition(":")
    found: Any = importlib.import_module(module)
    try:
        for part in name.split("."):
            found = inspect.getattr_static(found, part)
    except AttributeError:
        raise StaleMutantError(f"there is no {where}") from None
    found = getattr(found, "__func__", found)  # of a class method
    assert isinstance(found, FunctionType)
    return found


def _changed(function: FunctionType, change: Change) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    count = source.count(change.before)
    if count != 1:
        raise StaleMutantError(f"{change.where} has {count} times: {change.before}")
    try:
        module = compile(source.replace(change.before, change.after), f"<mutant of {change.where}>", "exec")
    except SyntaxError as error:
        raise StaleMutantError(f"{change.where}: {error.msg}") from None
    return next(c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__)


def hunt(mutant: Mutant, seeds: range, first: int | None = None) -> Finding:
    """Run seeds until one of the mutant's invariants catches it. Failures of other invariants do not count.

    ``first`` is a seed to try before the others.
    """
    others = set()
    try:
        with planted(mutant):
            for seed in seeds if first is None else chain((first,), seeds):
                for failure in run_one(seed).failures:
                    if failure.invariant in mutant.caught_by:
                        return Finding(mutant.name, failure.invariant, seed)
                    others.add(failure.invariant)
    except StaleMutantError as error:
        return Finding(mutant.name, fault=f"does not apply: {error}")
    but = f", but by: {'; '.join(sorted(others))}" if others else ""
    return Finding(mutant.name, fault=f"not caught in {len(seeds)} seeds by {' or '.join(mutant.caught_by)}{but}")


def run(
    seeds: range,
    jobs: int,
    show: Callable[[str, float], None] = lambda _, __: None,
    first: Mapping[str, int] = MappingProxyType({}),
) -> list[Finding]:
    """Hunt every mutant, in ``jobs`` processes. ``show`` is called with a line and the seconds since the beginning.

    ``first`` has the seed to try before the others, by a mutant's name.
    """
    begun = time.monotonic()
    found: dict[str, Finding] = {}
    with workers(jobs) as submit:
        hunting = [submit(hunt, mutant, seeds, first.get(mutant.name)) for mutant in MUTANTS]
        for done in as_completed(hunting):
            finding = done.result()
            found[finding.mutant] = finding
            show(f"{len(found)} of {len(MUTANTS)} mutants", time.monotonic() - begun)
    return [found[mutant.name] for mutant in MUTANTS]


def table(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of the table."""
    width = max(len(one.mutant) for one in findings)
    wide = max(len(one.invariant) for one in findings)
    yield f"{'fault planted in the product':{width}}  {'caught by':{wide}}  at seed"
    for one in findings:
        if one.is_caught:
            yield f"{one.mutant:{width}}  {one.invariant:{wide}}  {one.seed}"
        else:
            yield f"{one.mutant:{width}}  NOT CAUGHT: {one.fault}"
    yield f"{sum(one.is_caught for one in findings)} of {len(findings)} caught"
