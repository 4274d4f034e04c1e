"""The columns that a scan reads of a manifest, and which columns of a file they are.

Names are compared without case and outer blanks, as people write them in spreadsheets: `Seed`, ` seed`. An exact match
of a name that was asked for comes first; two columns that fit equally well are an error, never a guess.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.rows import CONDITIONS, parsed_seed
from memscan.scanner.place import Place
from memscan.scanner.terminal import brief, listed

PICTURES = ("image", *CONDITIONS)
"""Roles whose values are pictures, or their paths."""
ROLES = ("prompt", "seed", "id", *PICTURES)
"""What a column can be to a scan; each is also the column's usual name, and `--ROLE-column` names another."""

MAX_NAMES = 100_000
"""Distinct keys of a JSONL file that are remembered, beyond those that are looked for."""

_NEAR = {
    "prompt": ("prompts", "caption", "captions", "text", "texts", "description", "title"),
    "seed": ("seeds", "random_seed", "rng_seed", "noise_seed", "generator_seed", "latent_seed"),
    "id": ("ids", "uid", "uuid", "key", "prompt_id", "image_id", "row_id", "identifier"),
    "condition_image": ("init_image", "input_image", "source_image", "control_image", "depth_map"),
    "condition_mask": ("mask_image", "inpaint_mask"),
    "image": ("images", "img", "picture", "image_path", "image_file", "file_name", "filename", "path"),
}
"""Names under which others keep the same: never used unasked, but never passed over in silence."""


@dataclasses.dataclass(frozen=True)
class Used:
    """Which columns of one file are used: `roles` by role, `carry` by the name that they get in the results.

    `constants` and `carried_constants` hold what the names of the file's folders say in place of columns (Hive
    partitions). `unused` are the other columns, in order.
    """

    roles: dict[str, str]
    carry: dict[str, str]
    constants: dict[str, Any]
    carried_constants: dict[str, str | None]
    unused: tuple[str, ...]

    def __contains__(self, role: str) -> bool:
        return role in self.roles or role in self.constants


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns to be read; those left out have their usual names, and only the prompt must be there.

    `carry` are columns to be carried through to the results, under the names given here.
    """

    prompt: str | None = None
    carry: tuple[str, ...] = ()
    seed: str | None = None
    id: str | None = None
    image: str | None = None
    condition_image: str | None = None
    condition_mask: str | None = None

    def resolve(self, path: Place, names: Sequence[str], partitions: Mapping[str, str | None]) -> Used:
        """Find the columns of a file that has the columns `names`, and `partitions` in its folders' names.

        Raises:
            ManifestError: one that cannot be missing is missing, is there twice, or two fit equally well.
        """
        there = _Names(path, [*names, *(key for key in partitions if key not in set(names))])
        found = {role: there.find_role(role, getattr(self, role)) for role in ROLES}
        roles = {role: name for role, name in found.items() if name is not None}
        carry = {name: there.find_carried(name) for name in self.carry}
        used = {*roles.values(), *carry.values()}
        own = set(names)
        return Used(
            roles={role: name for role, name in roles.items() if name in own},
            carry={to: name for to, name in carry.items() if name in own},
            constants={
                role: parsed_seed(partitions[name] or "") if role == "seed" else partitions[name]
                for role, name in roles.items()
                if name not in own
            },
            carried_constants={to: partitions[name] for to, name in carry.items() if name not in own},
            unused=tuple(name for name in dict.fromkeys(there.names) if name not in used),
        )

    def may_use(self, name: str) -> bool:
        """Whether a column of this name would be used, or spoken of, if it were there."""
        wanted = {fold(one) for one in (*ROLES, *self.carry, *filter(None, self._named().values()))}
        return fold(name) in wanted

    def remarks(self, unused: Sequence[str], lacking: Iterable[str]) -> list[str]:
        """What is to be said of the columns that are not used, where the roles `lacking` have none."""
        if not unused:
            return []
        lines = []
        for role in lacking:
            for name in unused:
                if fold(name) in _NEAR[role]:
                    name = brief(name, 60)
                    lines.append(f"column {name!r} is not read as {role}: if it is, say {_option(role)} {name}")
        return [*lines, f"columns not used: {listed(unused, len(unused))}"]

    def _named(self) -> dict[str, str | None]:
        return {role: getattr(self, role) for role in ROLES}


DEFAULT_COLUMNS = Columns()
NO_COLUMNS = Used({}, {}, {}, {}, ())


def fold(name: str) -> str:
    """`name` as it is compared."""
    return name.strip().strip("\ufeff").strip().casefold()


def _option(role: str) -> str:
    return f"--{role.replace('_', '-')}-column"


class _Names:
    def __init__(self, path: Place, names: Sequence[str]) -> None:
        self._path = path
        self.names = names
        self._counts = Counter(names)
        self._alike: dict[str, list[str]] = defaultdict(list)
        for name in self._counts:
            self._alike[fold(name)].append(name)

    def find_role(self, role: str, asked: str | None) -> str | None:
        option = _option(role)
        name = self._find(asked or role, exact_first=asked is not None, option=option)
        if name is None and (role == "prompt" or asked is not None):
            self._missing(asked or role, f"; say which with {option}")
        return name

    def find_carried(self, asked: str) -> str:
        name = self._find(asked, exact_first=True, option="--carry")
        if name is None:
            self._missing(f"{asked}", "", to="to carry")
        return str(name)

    def _find(self, wanted: str, *, exact_first: bool, option: str) -> str | None:
        alike = self._alike.get(fold(wanted), [])
        if exact_first and wanted in self._counts:
            alike = [wanted]
        if len(alike) > 1:
            first, second = (brief(one, 60) for one in alike[:2])
            raise ManifestError(f"{self._path} has the columns {first!r} and {second!r}: say which with {option}")
        if alike and self._counts[alike[0]] > 1:
            raise ManifestError(f"{self._path} has two columns named {brief(alike[0])!r}: rename one of them")
        return alike[0] if alike else None

    def _missing(self, wanted: str, advice: str, to: str = "") -> None:
        near = [name for name in self._counts if fold(name) in _NEAR["prompt"]]
        there = listed(
            dict.fromkeys([*near, *self._counts] if len(self._counts) > 10 else self._counts), len(self._counts)
        )
        what = f"no column {brief(wanted)!r}{' ' if to else ''}{to}"
        raise ManifestError(f"{self._path} has {what}; its columns are: {there}{advice}")
