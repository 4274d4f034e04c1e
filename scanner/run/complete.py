"""The end of a run: whoever finds all of its parts there says so to its readers."""

import functools
from collections.abc import Collection

from memscan.scanner.errors import ResumeRefused
from memscan.scanner.results.at_once import in_order
from memscan.scanner.results.finished import part_record
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.run.cut import Survey
from memscan.scanner.settings import Measurement


def complete(
    folder: OutputFolder, wanted: Survey, own: Collection[int], fingerprint: bytes, measurement: Measurement
) -> int:
    """Mark a run as complete, if it is; what no result names is set aside before.

    Args:
        own: parts that nobody else works on: another's may have maps and images whose results are about to be written.

    Returns:
        How many parts are missing.

    Raises:
        ResumeRefused: a part was made of other rows than the manifest has, or by another run.
        OSError: a file cannot be read.
    """
    there = folder.parts() | {*own}  # a store may list late what was just written
    if measurement.save_maps:
        there &= folder.maps() | {*own}
    missing = len(wanted.parts) - sum(number < len(wanted.parts) for number in there)
    if missing:  # no need to look into any: of a hundred shares each would read all parts
        return missing
    look = functools.partial(part_record, folder, fingerprint=fingerprint)
    records = in_order(folder.store, look, range(len(wanted.parts)))
    for number, (extent, record) in enumerate(zip(wanted.parts, records, strict=True)):
        lacks_images = measurement.save_images and record is not None and record.images is None
        if record is None or lacks_images or record.extent.begins(extent):
            missing += 1
        elif record.extent != extent or record.tally.images != extent.images:
            raise ResumeRefused(
                f"part {number} in {folder.path} was made of other rows than {extent.first_row} to {extent.last_row}, "
                "which it should hold: restore the manifest, or choose another --out"
            )
    if missing:
        return missing
    if measurement.save_maps or measurement.save_images:
        for name in list(folder.unnamed(own, len(wanted.parts))):
            folder.store.set_aside(name)
    folder.mark_complete()
    return 0
