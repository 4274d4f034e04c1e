"""A click command whose help lists its options under headings."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


class GroupedCommand(click.Command):
    """`groups` maps each heading to the names of its options; what is left goes under "Other"."""

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = {option.name: option for option in self.get_params(ctx) if isinstance(option, click.Option)}
        sections = {heading: [options.pop(name) for name in names] for heading, names in self._groups.items()}
        for heading, members in {**sections, "Other": list(options.values())}.items():
            records = [record for option in members if (record := option.get_help_record(ctx))]
            with formatter.section(heading):
                formatter.write_dl(records)
