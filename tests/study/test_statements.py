import pytest

from quatrain.study.statements import statements_of


def only(source):
    (statement,) = statements_of(source.encode())
    return statement


def texts(source):
    return [each.text for each in statements_of(source.encode())]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1  # why", "x=1"),
        ("def f():\n    '''What it does.'''\n    return 1", "def f(): return 1"),
        ("class A:\n    n: int = 1\n    '''A field.'''", "class A:\n\n    n: int = 1"),
        ("class A:\n    '''Nothing in it.'''", "class A: pass"),
        ("'''A module.'''\nx = 'a'", 'x = "a"'),
        ("study = 1\nx = 1", "x = 1\nstudy = 2"),
        ("x = 1", "study: int = 3\nx = 1"),
        ("x = (1 +\n     2)", "x = 1 + 2"),
    ],
)
def test_comments_docstrings_layout_and_the_study_are_no_difference(one, other):
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
        ("x.study = 1", "x.study = 2"),
        ("@a\ndef f(): pass", "def f(): pass"),
    ],
)
def test_everything_else_is_a_difference(one, other):
    assert texts(one) != texts(other)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1", {"x"}),
        ("x, (y, *z) = f()", {"x", "y", "z"}),
        ("import a.b, c as d", {"a", "d"}),
        ("for i in x:\n    y = i", {"i", "y"}),
        ("try:\n    import a\nexcept ImportError:\n    a = None", {"a"}),
        ("class A:\n    n = 1", {"A"}),
        ("def f():\n    global g\n    g = 1", {"f", "g"}),
        ("A.limit = 3", {"A"}),
        ("A.table['k'].x = 3", {"A"}),
        ("CELLS.append(1)", {"CELLS"}),
        ("for x in y:\n    CELLS.append(x)", {"x", "CELLS"}),
        ("setattr(A, 'limit', 3)", {"A"}),
        ("print(A)", set()),
        ("def f():\n    A.limit = 3", {"f"}),
    ],
)
def test_a_statement_binds_the_names_that_it_sets_or_changes(source, names):
    assert only(source).binds == names


def test_the_names_of_methods_are_looked_up_and_their_own_variables_are_not():
    statement = only(
        "class A(Base):\n    def f(self, study):\n        rest = [each for each in study]\n"
        "        return LIMIT + self.height + rest[0]"
    )
    assert {"Base", "LIMIT"} <= statement.loads
    assert not {"study", "rest", "each", "height"} & statement.loads


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import a.b", {"a", "a.b"}),
        ("from a import b", {"a", "a.b"}),
        ("from . import b", {".", ".b"}),
        ("from .a import b", {".a", ".a.b"}),
        ("def f():\n    import a", {"a"}),
    ],
)
def test_imports_are_named_wherever_they_stand(source, modules):
    assert only(source).imports == modules


def test_importing_everything_may_bind_anything():
    assert only("from a import *").binds_anything


def test_a_source_that_cannot_be_taken_apart_is_one_statement():
    deep = "x = " + "+".join(["1"] * 5000)
    assert only(deep).binds_anything
    assert texts(deep) != texts(deep + "+1")
    assert only("print 'Python 2'").binds_anything
