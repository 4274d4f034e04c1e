"""Ground truth, and results with maps of one's choice, made by the very code that `memscan run` writes them with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memscan.scanner.results import layout
from memscan.scanner.results.batch_maker import BatchMaker
from memscan.scanner.results.maps_table import MapsWriter
from memscan.scanner.results.part_file import image_digest
from memscan.scanner.results.rle import encode
from memscan.scanner.results.schema import result_schema
from memscan.scanner.results.store import LocalStore
from memscan.scanner.samples import Key, MeasuredStep, Rejected, Sample, Scanned, Scores, StepMaps

STEP = MeasuredStep(index=49, timestep=1, sigma=0.25, threshold=0.5, calibrated=True)
SETTINGS = {
    "bundle": "0123456789abcdef" * 4,
    "num_inference_steps": 50,
    "guidance_scale": 7.5,
    "sampler": "ddim",
    "probes.kind": "hadamard",
    "probes.count": 8,
    "probes.seed": 0,
    "mask_map": "dh_uncond",
}


def scanned(
    row: int,
    prompt: str,
    *steps: Mapping[str, NDArray[np.float32]],
    seed: int = 0,
    id: str | None = None,
    scores: Mapping[str, float | None] | None = None,
    carried: Mapping[str, Any] | None = None,
) -> Scanned:
    """An image with its maps at each step, and the same scores at all; what has no maps failed, None is no score."""
    batched = ({name: values[None] for name, values in maps.items()} for maps in steps)
    of_image = {
        name: Scores(np.array([value or 0.0], np.float32), np.array([value is not None]))
        for name, value in (scores or {}).items()
    }
    measured = tuple(StepMaps(maps, (None,), of_image) for maps in batched)
    return Scanned((Sample(row, seed, prompt, id, carried=carried or {}),), (False,), measured, ("sampled",))


def write_results(
    folder: Path,
    items: Sequence[Scanned | Rejected],
    *,
    steps: Sequence[MeasuredStep] = (STEP,),
    save_maps: bool = True,
    thresholds: Sequence[Mapping[str, Any]] = (),
    finished: bool = True,
    score_name: str = "dh_uncond_mean",
    images: Mapping[Key, bytes] | None = None,
    model_id: str = "fabricated",
    written: str | None = None,
    carried: Mapping[str, pa.DataType] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write `items` as the finished results of a run whose mask map is dh_uncond and whose latents have 4 channels."""
    named = {layout.image_name(*key): content for key, content in (images or {}).items()}
    metadata = {
        "latent_channels": json.dumps(4),
        "run": json.dumps({"version": "0.1.0", "settings": {**SETTINGS, "score_name": score_name, **(settings or {})}}),
        "thresholds": json.dumps(list(thresholds)),
        "images": json.dumps({name: image_digest(content) for name, content in named.items()}),
        **({} if written is None else {"written": written}),
    }
    schema = result_schema(carried or {}, metadata)
    maker = BatchMaker(schema, model_id, "dh_uncond", score_name, tuple(steps))
    batches = [
        batch
        for item in items
        for batch in (maker.scanned(item) if isinstance(item, Scanned) else maker.rejected([item]))
    ]
    (folder / "results").mkdir(parents=True)
    table = pa.Table.from_batches(batches, schema)
    pq.write_table(table, folder / "results" / "part-00000.parquet", write_page_checksum=True)
    for name, content in named.items():
        with LocalStore(folder).writing(layout.image(0, name)) as file:
            file.write(content)
    if finished:
        (folder / "results" / "_SUCCESS").touch()
    if save_maps:
        (folder / "maps").mkdir()
        with (folder / "maps" / "part-00000.parquet").open("wb") as stream:
            writer = MapsWriter(stream, {}, tuple(step.index for step in steps))
            for item in items:
                if isinstance(item, Scanned):
                    writer.add(item)
            writer.close()
    return folder


def with_column(folder: Path, name: str, values: Sequence[Any], kind: pa.DataType | None = None) -> Path:
    """The results in `folder` with a column of these values, in place of that of the name if there is one."""
    file = folder / "results" / "part-00000.parquet"
    table = pq.read_table(file)
    place = table.column_names.index(name) if name in table.column_names else len(table.column_names)
    column = pa.array(values, table.schema.field(name).type if name in table.column_names else kind)
    if name in table.column_names:
        table = table.remove_column(place)
    table = table.add_column(place, name, column)
    pq.write_table(table, file, write_page_checksum=True)
    return folder


def write_ground_truth(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows of prompt or id, kind, mask (bool [h, w], or None), and whatever else they hold."""
    encoded = []
    for row in rows:
        mask = row["mask"]
        counts, height, width = (None, None, None) if mask is None else (*encode(mask[None]), *mask.shape)
        encoded.append({**row, "mask": counts, "mask_height": height, "mask_width": width})
    pq.write_table(pa.Table.from_pylist(encoded), file)
    return file
