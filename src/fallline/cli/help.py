"""Help pages: what a command does, its arguments and options by panel, and examples; readable in any width."""

from __future__ import annotations

from typing import Any

import typer.core

from fallline.cli import show
from fallline.cli.values import take_as_given

WIDEST = 100  # columns; longer lines are hard to follow


class HelpfulCommand(typer.core.TyperCommand):
    """A command whose help page is ours, and which converts no values."""

    def get_params(self, ctx: Any) -> Any:
        return take_as_given(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_page(self, ctx))


class HelpfulGroup(typer.core.TyperGroup):
    """The group of all commands, with the same help page."""

    def get_params(self, ctx: Any) -> Any:
        return take_as_given(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_page(self, ctx))


def help_page(command: Any, ctx: Any) -> str:
    """The help page as text, as wide as the terminal and at most WIDEST."""
    width = min(show.screen_width() or WIDEST, WIDEST)
    params = [p for p in command.get_params(ctx) if not getattr(p, "hidden", False)]
    arguments = [p for p in params if p.param_type_name == "argument"]
    subcommands = getattr(command, "commands", {})
    usage = [ctx.command_path, *(p.metavar or p.name.upper() for p in arguments), *(["COMMAND"] if subcommands else [])]
    lines = [*show.wrap(" ".join([*usage, "[OPTIONS]"]), width, "    "), "", *show.wrap(command.help or "", width)]
    sections = {"Commands": [(name, sub.help or "") for name, sub in subcommands.items()]}
    sections["Arguments"] = [(p.metavar or p.name.upper(), p.help or "") for p in arguments]
    sections["Options"] = []
    for p in params:
        if p not in arguments:
            sections.setdefault(getattr(p, "rich_help_panel", None) or "Options", []).append(_option(p))
    for title, rows in sections.items():
        if rows:
            lines += ["", f"{title}:", *("  " + line for line in show.definitions(rows, width - 2))]
    examples = (command.epilog or "").strip().splitlines()
    lines += ["", "Examples:", *(f"  {example}" for example in examples)] if examples else []
    return "\n".join(lines) + "\n"


def _option(p: Any) -> tuple[str, str]:
    """("-o, --out DIR", what it is for)."""
    names = ", ".join(sorted(p.opts, key=len)) + (f" / {p.secondary_opts[0]}" if p.secondary_opts else "")
    value = "" if p.is_flag else f" {p.metavar or 'TEXT'}"
    return names + value, "show this page" if p.name == "help" else p.help or ""
