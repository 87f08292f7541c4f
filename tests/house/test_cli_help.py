import click
import pytest
import typer.main

from quatrain.cli.main import app


def commands(command, path=("quatrain",)):
    """Each command without sub-commands, with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name, each in inner.items():
        yield from commands(each, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_list_of_commands():
    assert sorted(COMMANDS) == [
        "quatrain convert",
        "quatrain cost paper",
        "quatrain findings",
        "quatrain knockout",
        "quatrain one-shot",
        "quatrain plan",
        "quatrain report",
        "quatrain study cancel",
        "quatrain study measure",
        "quatrain study new",
        "quatrain study plan",
        "quatrain study run",
        "quatrain study status",
        "quatrain study submit",
        "quatrain study watch",
        "quatrain study work",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_an_example(name):
    assert f"Example: {name} " in COMMANDS[name].help


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_has_help(name):
    silent = [
        parameter.name
        for parameter in COMMANDS[name].params
        if not isinstance(parameter, click.Argument) and not getattr(parameter, "help", None)
    ]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_has_angle_brackets(name):
    """Help is read as Markdown, where `<name>` is a tag and is not shown."""
    texts = [COMMANDS[name].help, *(getattr(each, "help", "") for each in COMMANDS[name].params)]
    assert [text for text in texts if text and "<" in text] == []


@pytest.mark.parametrize(
    "name", sorted(COMMANDS.keys() - {f"quatrain study {name}" for name in ("new", "run", "work")})
)
def test_commands_that_print_a_table_can_print_json(name):
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert "--json" in options
