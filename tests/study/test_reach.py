import pytest

from quatrain.study.reach import grid_names, reachable
from quatrain.study.statements import names_of_study, statements_of


def reached(source, name="X", **known):
    """The statements that decide a name."""
    statements = statements_of(source.encode())
    grid = grid_names(statements, names_of_study(source.encode()))
    return [statements[each] for each in reachable(statements, name, grid=grid, **known)]


def texts(source):
    return [each.text for each in reached(source)]


def decided(source, name="X", **known):
    """The names that those statements bind."""
    return [sorted(each.binds) for each in reached(source, name, **known)]


SETUP = "X = {}\ndef setup(n): X['n'] = n\n"


@pytest.mark.parametrize(
    "source",
    [
        SETUP + "setup(50)",
        SETUP + "_ = setup(50)",
        SETUP + "y: int = setup(50)",
        SETUP + "y = [setup(i) for i in range(50)]",
        SETUP + "if setup(50): pass",
        SETUP + "def outer(n): return setup(n)\nouter(50)",
        SETUP + "y = setup\ny(50)",
        SETUP + "study = Study(cells=CELLS)\nCELLS = [setup(50)]",
        SETUP + "class C:\n    def __init__(self): setup(self)\nC(50)",
        SETUP + "class C:\n    def __init__(self): setup(self)\nclass D(C): pass\nD(50)",
        "X = []\n_ = X.append(50)",
        "X = []\ny = [X.append(i) for i in range(50)]",
        "X = []\ny = list(map(X.append, range(50)))",
        "X = []\nassert X.append(50) is None",
        "X = []\ny = (lambda: X.append(50))()",
        "X = []\ny = update([X], 50)",
        "X = []\ny = update(items=X, value=50)",
        "X = {}\ndef put(kind): X[kind.__name__] = kind\n@put\nclass A: v = 50",
        "X = {}\ndef put(kind): return X.setdefault(kind.__name__, kind)\n@put\nclass A: v = 50",
        "X = {}\ndef put(name):\n    def add(f): X[name] = f\n    return add\n"
        "@put(50)\ndef a(): pass",
        "X = {}\ndef put(kind): X[kind.__name__] = kind\nclass A: v = 50\nput(A)",
        "X = {}\nput = partial(add, X)\n@put\nclass A: v = 50",
        "X = Registry()\n@X.put\nclass A: v = 50",
        "X = Registry()\n@X\nclass A: v = 50",
        "X = {}\nclass B:\n    def __init_subclass__(cls): X[cls.__name__] = cls\n"
        "class A(B): v = 50",
        "X = {}\nclass B:\n    def __init_subclass__(cls): X[cls.__name__] = cls\n"
        "class M(B): pass\nclass A(M): v = 50",
    ],
)
def test_a_call_at_module_level_decides_what_it_changes(source):
    assert texts(source) != texts(source.replace("50", "49"))


@pytest.mark.parametrize(
    "source",
    [
        "CELLS = [cell(50)]",
        "CELLS = [Cell(spec=Mine(size=50))]",
        "CELLS = []\nCELLS.append(cell(50))",
        "CELLS = []\nfor size in (1, 50):\n    CELLS.append(Cell(spec=Mine(size=size)))",
        "CELLS = []\nCELLS += grid(50)",
        "def grid(n): return [cell(n, X) for n in range(n)]\nCELLS = grid(50)",
        "CELLS = [cell(50, x) for x in itertools.product(X)]",
        "CELLS = [cell(50, x) for x in X.keys()]",
        "CELLS = tuple(grid(X, Mine))",
        "@functools.cache\ndef grid(n): return [cell(50)]\nCELLS = grid(50)",
        "CELLS = []\n@dataclass\nclass Setting:\n    size: int = 50",
        "CELLS = [cell(1)]\nprint(50, X)",
    ],
)
def test_building_the_grid_decides_nothing_of_a_spec(source):
    head = (
        "X = {}\ndef cell(n): return Cell(spec=Mine(size=n))\n"
        "class Mine(Spec):\n    def open(self): return itertools.chain(X)\n"
    )
    tail = "\nstudy = Study(cells=CELLS)"
    assert decided(head + source + tail, "Mine") == [["X"], ["Mine"]]


def test_a_class_that_uses_the_same_constants_is_another_class():
    source = (
        "BASE = Recipe()\nOTHER = replace(BASE)\nclass A:\n    r: R = replace(BASE)\n"
        "class B:\n    r: R = replace(BASE)\n    s: R = OTHER\n"
    )
    assert decided(source, "A") == [["BASE"], ["OTHER"], ["A"]]
    assert decided(source, "A", constant=frozenset({"BASE"})) == [["BASE"], ["A"]]


def test_a_call_into_a_module_beside_it_may_change_what_is_imported_from_there():
    source = "from helper import put, X\n@put\nclass A: pass\n@plain\nclass B: pass"
    assert decided(source, beside=frozenset({"put", "X"})) == [["X"], ["put"], ["A"]]
    assert decided(source) == [["X"]]


def test_of_a_name_that_nothing_binds_all_statements_are_taken():
    assert decided("a = 1\nb = 2", "c") == [["a"], ["b"]]
    assert decided("X = 1\nfrom a import *") == [["X"], []]


def test_the_grid_is_what_study_is_built_from_without_what_is_in_classes():
    source = "a = 1\nb = a\ndef f(): return Mine(c)\nclass Mine:\n    x = e\nd = 2\n"
    statements = statements_of(source.encode())
    names = grid_names(statements, {"b", "f"})
    assert names == {"a", "b", "f", "Mine", "c"}
