"""The mutants of a file: each is its source with one small fault put in.

The faults are mutmut's: another operator, comparison or number, an argument that is None or missing, a value that is
not assigned. mutmut itself changes only functions; here the whole module is changed, including constants, fields and
anything with a decorator, and a statement may be missing. Texts get something before and after them, but keep their
letters.
"""

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators, operator_string
from mutmut.mutation.pragma_handling import IgnoredCode

from tests.assurance.mutation.survivors import Fault


class Mutant(NamedTuple):
    """A file with a fault in it."""

    fault: Fault
    source: str


def mutants(root: Path, file: str) -> Iterator[Mutant]:
    """Yield every mutant of ``file`` once, in the order of its source."""
    source = (root / file).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    wrapper.visit(visitor)
    starts = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
    places = wrapper.resolve(PositionProvider)
    module = wrapper.module
    seen = {source}
    for mutation, scope in zip(visitor.mutations, visitor.scopes, strict=True):
        old, new = mutation.original_node, mutation.mutated_node
        start, end = (starts[at.line - 1] + at.column for at in (places[old].start, places[old].end))
        if source[start:end] == module.code_for_node(old):
            changed = source[:start] + module.code_for_node(new) + source[end:]
        else:  # indented, or in parentheses: the slow way
            changed = module.deep_replace(old, new).code
        if changed not in seen:
            seen.add(changed)
            before, after = _difference(source, changed)
            yield Mutant(Fault(file, scope, before, after), changed)


def _difference(before: str, after: str) -> tuple[str, str]:
    """Return the lines from the first difference to the last, without their indentation."""
    old, new = ([line.strip() for line in text.splitlines()] for text in (before, after))
    steps = [step for step in SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if step[0] != "equal"]
    (_, old_start, _, new_start, _), (_, _, old_end, _, new_end) = steps[0], steps[-1]
    return "\n".join(old[old_start:old_end]), "\n".join(new[new_start:new_end])


def _first_of_string(node: cst.BaseString) -> Iterable[cst.BaseString]:
    """The same text with something before and after it. mutmut's other two changes affect the case of letters."""
    yield from list(operator_string(node))[:1]


def _no_statement(node: cst.Expr | cst.Raise | cst.Del) -> Iterable[cst.Pass]:
    """Nothing in place of a statement. A docstring is not a statement."""
    if not (isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString | cst.Ellipsis)):
        yield cst.Pass()


_OPERATORS = [(kind, _first_of_string if made is operator_string else made) for kind, made in mutation_operators]
_OPERATORS += [(kind, _no_statement) for kind in (cst.Expr, cst.Raise, cst.Del)]


class _Visitor(MutationVisitor):
    """Finds the places for faults, and knows the function or class of each."""

    METADATA_DEPENDENCIES = (*MutationVisitor.METADATA_DEPENDENCIES, ParentNodeProvider)

    def __init__(self) -> None:
        super().__init__(_OPERATORS, IgnoredCode(set(), set(), set()))
        self.scopes: list[str] = []

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        """Skip types and decorators, which are no behaviour, and code for the type checker, which never runs."""
        typing = isinstance(node, cst.If) and isinstance(node.test, cst.Name) and node.test.value == "_TYPING"
        return typing or isinstance(node, cst.Annotation | cst.Decorator | cst.ImportFrom | cst.Import)

    def _create_mutations(self, node: cst.CSTNode) -> None:
        super()._create_mutations(node)
        if len(self.mutations) > len(self.scopes):
            names = []
            parent: cst.CSTNode | None = node
            while parent is not None:
                if isinstance(parent, cst.FunctionDef | cst.ClassDef):
                    names.append(parent.name.value)
                parent = self.get_metadata(ParentNodeProvider, parent, None)
            scope = ".".join(reversed(names))
            self.scopes += [scope] * (len(self.mutations) - len(self.scopes))
