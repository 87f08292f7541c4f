import pytest

from quatrain.study.statements import names_of_study, statements_of


def only(source):
    (statement,) = statements_of(source.encode())
    return statement


def texts(source):
    return [each.text for each in statements_of(source.encode())]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1", {"x"}),
        ("x, (y, *z) = f()", {"x", "y", "z"}),
        ("import a.b", {"a"}),
        ("import c as d", {"d"}),
        ("for i in x:\n    y = i", {"i", "y"}),
        ("try:\n    import a\nexcept ImportError:\n    a = None", {"a"}),
        ("class A:\n    n = 1", {"A"}),
        ("def f():\n    global g\n    g = 1", {"f", "g"}),
        ("A.limit = 3", {"A"}),
        ("A.table['k'].x = 3", {"A"}),
        ("CELLS.append(1)", {"CELLS"}),
        ("for x in y:\n    CELLS.append(x)", {"x", "CELLS"}),
        ("setattr(A, 'limit', 3)", {"A"}),
        ("setup(target=A)", {"A"}),
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
        ("from a.b import c", {"a", "a.b", "a.b.c"}),
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


def test_each_imported_name_is_a_statement_of_its_own():
    found = statements_of(b"import a, b as c\nfrom d import e, f")
    assert [sorted(each.binds) for each in found] == [["a"], ["c"], ["e"], ["f"]]


@pytest.mark.parametrize(
    ("source", "calls", "touches"),
    [
        ("f(A)", {"f"}, {"A"}),
        ("x = f([A], b=B.c)", {"f"}, {"A", "B"}),
        ("x = A.append(1)", set(), {"A"}),
        ("x = [A[i].append(i) for i in B]", set(), {"A", "i"}),
        ("x: int = f()", {"f"}, set()),
        ("assert A.pop()", set(), {"A"}),
        ("x = f(lambda: A)", {"f"}, {"A"}),
        ("@f\nclass A: pass", {"f"}, set()),
        ("@f(B)\ndef g(): h()", {"f"}, {"B"}),
        ("@A.f\n@g\ndef h(): pass", {"g"}, {"A"}),
        ("if x:\n    @f\n    class A: pass", {"f"}, set()),
        ("class A(B): pass", {"B.__init_subclass__"}, set()),
        ("class A:\n    n: int = f(B)", set(), set()),
        ("class A:\n    f(B)", {"f"}, {"B"}),
        ("def g(): f(A)", set(), set()),
        ("x = lambda: f(A)", set(), set()),
    ],
)
def test_a_statement_calls_what_it_calls_when_it_is_run(source, calls, touches):
    statement = only(source)
    assert (statement.calls, statement.touches - {"f"}) == (calls, touches)


@pytest.mark.parametrize(
    ("source", "name", "changes"),
    [
        ("def f(n):\n    A['n'] = n", "f", {"A"}),
        ("def f(n):\n    n.x = 1\n    A.append(n)", "f", {"A"}),
        ("def f():\n    def g(k):\n        A[k] = k\n    return g", "f", {"A"}),
        ("def f():\n    global A\n    A = 1", "f", {"A"}),
        ("def f(A):\n    A.append(1)", "f", set()),
        ("def f():\n    return A.get(1)", "f", set()),
        ("class C:\n    def __init__(self):\n        A.append(self)", "C", {"A"}),
        ("class C:\n    def open(self):\n        A.append(self)", "C", set()),
        (
            "class C:\n    def __init_subclass__(cls):\n        A.append(cls)",
            "C.__init_subclass__",
            {"A"},
        ),
    ],
)
def test_a_function_changes_the_globals_that_its_statements_change(source, name, changes):
    assert only(source).callables[name].changes == changes


def test_the_names_that_the_study_is_built_from_are_those_that_its_statement_uses():
    assert names_of_study(b"x = a\nstudy = Study(cells=cells(b))") == {"Study", "cells", "b"}
    assert names_of_study(b"print 'Python 2'") == set()
