"""Asks the command line which commands it has, without running one."""

import typer
import typer.main


def unknown_word(app: typer.Typer, words: list[str]) -> str | None:
    """The first word that no command or group answers to; words after a command are arguments."""
    found = typer.main.get_command(app)
    for word in words:
        commands = getattr(found, "commands", None)
        if commands is None:
            return None
        if word not in commands:
            return word
        found = commands[word]
    return None
