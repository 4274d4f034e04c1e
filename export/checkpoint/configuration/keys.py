"""What a table of keys says, and the check of a configuration against it.

A configuration that is dropped changes what a model means without a word, so that no key passes unread: the classes of
diffusers and transformers ignore what they do not know.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memscan.scanner.errors import ExportError


@dataclasses.dataclass(frozen=True)
class Keys:
    """The keys of one kind of configuration.

    `understood` maps each key whose value memscan, or the class that it builds, honours to what an absent key means;
    `harmless` are those that change nothing that a scan computes, whatever their value; `only` maps each key that would
    change the meaning to the values that do not, the first of which is what an absent key means.
    """

    understood: Mapping[str, Any]
    harmless: frozenset[str]
    only: Mapping[str, tuple[Any, ...]]


def check_keys(file: Path, config: Mapping[str, Any], keys: Keys) -> None:
    """Check that every key of the configuration in `file` is known and means something that can be exported.

    A key that is null says nothing, and passes.

    Raises:
        ExportError: a key is unknown, or has a value that memscan cannot export.
    """
    for key, value in config.items():
        if key in keys.only:
            if not any(_same(value, allowed) for allowed in keys.only[key]):
                raise ExportError(
                    f"{file} has {key} {_short(value)}, which memscan cannot export; it exports"
                    f" {' or '.join(map(_short, keys.only[key]))}"
                )
        elif key not in keys.understood and key not in keys.harmless and value is not None:
            raise ExportError(
                f"{file} has {key} {_short(value)}, a key that memscan does not know and may not ignore; remove it if"
                " it changes nothing that the model computes"
            )


def differences(keys: Keys, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The understood keys in which two configurations differ, each as "key ONE, not OTHER"."""
    return [
        f"{key} {_short(one.get(key, absent))}, not {_short(other.get(key, absent))}"
        for key, absent in keys.understood.items()
        if _listed(one.get(key, absent)) != _listed(other.get(key, absent))
    ]


def _same(value: Any, allowed: Any) -> bool:
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
