"""Which store a place has."""

from memscan.scanner.place import Place, Url
from memscan.scanner.results.layout import scratch
from memscan.scanner.results.store import LocalStore, Store


def store_at(place: Place, share: str = "0-of-1") -> Store:
    """The store of a place, for the worker of a share.

    Raises:
        EnvironmentFailed: what object stores need is not installed.
    """
    if isinstance(place, Url):
        from memscan.scanner.results.object_store import ObjectStore

        return ObjectStore(place)
    return LocalStore(place, scratch(share))
