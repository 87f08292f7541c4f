import ast
import hashlib

import pytest

from quatrain.study.statements import select, statements_of, text_of_node


def texts(source):
    return [each.text for each in statements_of(source.encode())]


def selected(source, *roots):
    return [each.text for each in select(statements_of(source.encode()), set(roots))]


def only(source):
    (statement,) = statements_of(source.encode())
    return statement


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1  # why", "x=1"),
        ("def f():\n    '''A docstring.'''\n    return 1", "def f(): return 1"),
        ("class A:\n    n: int = 1\n    '''A field.'''", "class A:\n\n    n: int = 1"),
        ("class A:\n    '''Empty.'''", "class A: pass"),
        ("'''A module.'''\nx = 'a'", 'x = "a"'),
        ("x = (1 +\n     2)", "x = 1 + 2"),
        ("import a, b", "import a\nimport b"),
        ("x = 1\nprint(x)", "x = 1"),
        ("x = 1\nif __name__ == '__main__':\n    main()", "x = 1"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_the_text(one, other):
    assert texts(one) == texts(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = '1'", "x = b'1'"),
        ("def f(): return 1", "def f(): return -1"),
        ("def f(a, *, b): pass", "def f(a, b): pass"),
        ("@a\ndef f(): pass", "def f(): pass"),
        ("class A:\n    x: int = 1", "class A:\n    x: str = 1"),
        ("from a import b", "from a import b as c"),
        ("x = f'{a}'", "x = f'{a} '"),
        ("x = f'{a:{b}}'", "x = f'{a:{b} }'"),
        ("x = ''", "x = None"),
        ("x = 1", "x = 1\nif __name__ == '__main__':\n    main()\nelse:\n    x = 2"),
    ],
)
def test_any_other_edit_changes_the_text(one, other):
    assert texts(one) != texts(other)


FORMATS = """
def names(x, y, z):
    return f"{x:{y}}", f"{x!r:>{y}}", f"{x:{y}.{z}}", f"{x}{y:d}", f"", f"a{x:}", f"{x=}"
"""


def test_all_versions_of_python_give_a_source_the_same_text():
    assert hashlib.sha256(only(FORMATS).text.encode()).hexdigest() == (
        "fb37df1461d389a2b48e57eaf3d0f5ca124538435ba3dc1f86db31d0d8038754"
    )
    (node,) = ast.parse('x = f"{x:{y}}"').body
    before = text_of_node(node)
    node.value.values[0].format_spec.values.append(ast.Constant(value=""))  # as Python 3.12 does
    assert text_of_node(node) == before


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x, (y, *z) = f()", {"x", "y", "z"}),
        ("import a.b", {"a"}),
        ("import c as d", {"d"}),
        ("try:\n    import a\nexcept ImportError:\n    a = None", {"a"}),
        ("def f():\n    global g\n    g = 1", {"f", "g"}),
        ("A.table['k'].x = 3", {"A"}),
        ("for x in y:\n    CELLS.append(x)", {"x", "CELLS"}),
        ("def f():\n    A.limit = 3", {"f"}),
    ],
)
def test_a_statement_binds_the_names_that_it_assigns_or_changes(source, names):
    assert only(source).binds == names


def test_a_statement_uses_global_names_of_its_functions_and_not_local_ones():
    statement = only(
        "class A(Base):\n    def f(self, study):\n        rest = [each for each in study]\n"
        "        return LIMIT + self.height + rest[0]"
    )
    assert {"Base", "LIMIT"} <= statement.uses
    assert not {"study", "rest", "each", "height"} & statement.uses


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import a.b", {"a.b"}),
        ("from a.b import c", {"a.b.c"}),
        ("from . import b", {"pkg.b"}),
        ("from .a import b", {"pkg.a.b"}),
        ("from ... import b", set()),
        ("def f():\n    import a", {"a"}),
    ],
)
def test_imports_are_absolute_names_of_modules(source, modules):
    (statement,) = statements_of(source.encode(), "pkg")
    assert statement.imports == modules


@pytest.mark.parametrize("source", ["x = " + "+".join(["1"] * 5000), "print 'Python 2'"])
def test_a_source_that_cannot_be_parsed_is_one_statement(source):
    assert texts(source) != texts(source + "+1")
    assert len(texts(source)) == 1


SETUP = "X = {}\ndef setup(n): X['n'] = n\n"
MINE = "class Mine:\n    x = X\n"
STUDY = "study = Study(cells=[Mine(y)])\n"


@pytest.mark.parametrize(
    "source",
    [
        "X = 50\n",
        "Y = 50\nX = [Y]\n",
        "def f(): return 50\ndef X(): return f()\n",
        "Mine.limit = 50\nX = 1\n",
        "setattr(Mine, 'limit', 50)\nX = 1\n",
        SETUP + "setup(50)\n",
        SETUP + "_ = setup(50)\n",
        SETUP + "z: int = setup(50)\n",
        SETUP + "z = [setup(i) for i in range(50)]\n",
        SETUP + "if setup(50): pass\n",
        "X = []\nX.append(50)\n",
        "X = {}\ndef put(kind): X[kind.__name__] = kind\n@put\nclass A: v = 50\n",
        "X = {}\ndef put(kind): X[kind.__name__] = kind\nclass A: v = 50\nput(A)\n",
        "X = Registry()\n@X.put\nclass A: v = 50\n",
        "X = {}\nclass B:\n    def __init_subclass__(cls): X[cls.__name__] = cls\n"
        "class A(B): v = 50\n",
        "X = {}\nclass A(metaclass=Registry): v = 50\n",
        "from module_50 import *\n",
    ],
)
def test_statements_that_a_class_depends_on_are_selected(source):
    source += MINE + STUDY
    assert selected(source, "Mine") != selected(source.replace("50", "49"), "Mine")


@pytest.mark.parametrize(
    "source",
    [
        "y = [50]\n",
        "y = grid(50)\n",
        "y = []\ny.append(cell(50, Mine))\n",
        "y = []\nfor size in (1, 50):\n    y.append(Mine(size))\n",
        "y = []\ny += grid(50)\n",
        "def grid(n): return [Mine(n, X)] * 50\ny = grid(3)\n",
        "@functools.cache\ndef grid(n): return [50]\ny = grid(3)\n",
        "class Other:\n    size = 50\ny = Other()\n",
        "print(50)\n",
        "def unused(): return 50\n",
    ],
)
def test_statements_that_only_build_the_grid_are_not_selected(source):
    source = "X = {}\n" + MINE + source + STUDY
    assert selected(source, "Mine") == texts("X = {}\n" + MINE)


def test_the_statement_that_defines_the_study_is_not_selected():
    assert selected("def Mine(): return study\nstudy: Study = 1", "Mine") == texts(
        "def Mine(): return study"
    )


def test_a_statement_that_defines_more_than_the_study_is_selected_by_its_other_names():
    assert selected("def Mine(): return x\nstudy, x = 1, 2", "Mine") == texts(
        "def Mine(): return x\nstudy, x = 1, 2"
    )


def test_all_statements_are_selected_if_none_binds_the_class():
    assert selected("a = 1\nb = 2\nstudy = 3", "Mine") == texts("a = 1\nb = 2")
