import ast
import hashlib

import pytest

from quatrain.study.normal import normal_statements, text_of_node
from quatrain.study.statements import statements_of


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
        ("from a import c, b as d", "from a import b as d\nfrom a import c"),
        ("import a, b", "import a\nimport b"),
        ("def f():\n    from a import c, b", "def f():\n    from a import b, c"),
        ("def f(a: int, *b: int, c: str = '', **d: A) -> None: pass",
         "def f(a, *b, c='', **d): pass"),
        ("async def f(a: int, /): pass", "async def f(a, /): pass"),
        ("class A:\n    @property\n    def f(self) -> int: pass",
         "class A:\n    @property\n    def f(self): pass"),
        ("def f():\n    x: int = 1\n    y: int", "def f():\n    x = 1"),
        ("x: Final = 1", "x = 1"),
    ],
)  # fmt: skip
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
        ("class A:\n    x: int = 1", "class A:\n    x: str = 1"),
        ("@dispatch\ndef f(a: int): pass", "@dispatch\ndef f(a: str): pass"),
        ("from a import b", "from a import b as c"),
        ("x = f'{a}'", "x = f'{a} '"),
        ("x = f'{a:{b}}'", "x = f'{a:{b} }'"),
        ("x = ''", "x = None"),
    ],
)
def test_everything_else_is_a_difference(one, other):
    assert texts(one) != texts(other)


def test_statements_without_effect_in_a_study_are_left_out():
    guarded = "x = 1\nif __name__ == '__main__':\n    main()"
    assert [type(each).__name__ for each in normal_statements(guarded.encode())] == ["Assign"]
    assert texts(guarded + "\nelse:\n    x = 2") != texts("x = 1")


FORMATS = """
def names(x, y, z):
    return f"{x:{y}}", f"{x!r:>{y}}", f"{x:{y}.{z}}", f"{x}{y:d}", f"", f"a{x:}", f"{x=}"
"""


def test_all_versions_of_python_hash_a_source_alike():
    (node,) = normal_statements(FORMATS.encode())
    assert hashlib.sha256(text_of_node(node).encode()).hexdigest() == (
        "fb37df1461d389a2b48e57eaf3d0f5ca124538435ba3dc1f86db31d0d8038754"
    )


def test_an_empty_text_that_a_version_of_python_adds_to_a_format_is_no_difference():
    (node,) = normal_statements(b'x = f"{x:{y}}"')
    before = text_of_node(node)
    node.value.values[0].format_spec.values.append(ast.Constant(value=""))
    assert text_of_node(node) == before
