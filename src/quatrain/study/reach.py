"""Which statements of a module decide the value of a name.

    NETS = {}
    def register(kind): NETS[kind.__name__] = kind
    @register
    class Net: ...               decides NETS, as register changes it

A call at module level may change its arguments, the base of a method, and each global name that a
called function of the module uses. Statements that build the grid, which give values to names that
`study` reads, call functions for their values: of these only definite changes count.
"""

from collections.abc import Iterable, Sequence

from quatrain.study.statements import Callable, Statement


def grid_names(statements: Sequence[Statement], study: Iterable[str]) -> frozenset[str]:
    """The names from which `study`, which reads the names `study`, is built; classes are opaque."""
    wanted, found = list(study), set[str]()
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        for statement in statements:
            if name in statement.binds and not statement.is_class:
                wanted.extend(statement.loads)
    return frozenset(found)


def reachable(
    statements: Sequence[Statement],
    name: str,
    *,
    grid: frozenset[str] = frozenset(),
    beside: frozenset[str] = frozenset(),
    constant: frozenset[str] = frozenset(),
) -> list[int]:
    """Positions of the statements that decide what `name` is; of all if none binds it.

    Args:
        statements: the statements of the module.
        name: a global name of it.
        grid: the names that make the grid.
        beside: the names that it imports from modules beside it. A call into one of these modules
            may change anything that is imported from them.
        constant: names whose values no call can change.
    """
    callables = _callables(statements)
    binds = [
        each.binds | (_effects(each, callables, grid, beside) - constant) for each in statements
    ]
    wanted, reached = [name], set[str]()
    while wanted:
        each = wanted.pop()
        if each in reached:
            continue
        reached.add(each)
        for statement, bound in zip(statements, binds, strict=True):
            if each in bound:
                wanted.extend(statement.loads)
    found = [
        position
        for position, bound in enumerate(binds)
        if bound & reached or statements[position].binds_anything
    ]
    is_bound = any(name in binds[position] for position in found)
    return found if is_bound else list(range(len(statements)))


def _callables(statements: Iterable[Statement]) -> dict[str, list[Callable]]:
    found: dict[str, list[Callable]] = {}
    for statement in statements:
        for name, each in statement.callables.items():
            found.setdefault(name, []).append(each)
    return found


def _effects(
    statement: Statement,
    callables: dict[str, list[Callable]],
    grid: frozenset[str],
    beside: frozenset[str],
) -> frozenset[str]:
    """The names whose values a statement may change by what it calls."""
    called = _called(statement.calls, callables)
    changes = frozenset(name for each in called for name in each.changes)
    if statement.binds and statement.binds <= grid and not statement.is_definition:
        return changes
    loads = frozenset(name for each in called for name in each.loads)
    touched = statement.touches | loads | changes
    return touched | beside if (touched | statement.calls) & beside else touched


def _called(names: Iterable[str], callables: dict[str, list[Callable]]) -> list[Callable]:
    """The functions of the module that are called, by one another too."""
    wanted, seen = list(names), set[str]()
    found: list[Callable] = []
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            found += callables.get(name, [])
            wanted.extend(load for each in callables.get(name, []) for load in each.loads)
    return found
