"""`python -m testbed.proof`: the evidence that the embedded model memorizes what the ground truth says, and only that.

Scans the whole embedded manifest with memscan itself, and prints the mean of h by region, the distances to what was
memorized, the evaluation of the held-out captions and the target table. Leaves grids of training and generated images.
"""

import argparse
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image as Pillow

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.embedded import BUNDLE, GROUND_TRUTH, MANIFEST
from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.evaluation.text_table import table
from memscan.scanner.run.request import Request
from memscan.scanner.settings import DERIVATIVES
from testbed.captions import of_kind
from testbed.fidelity import fidelity, fidelity_lines, generated_images
from testbed.regions import region_lines, region_means
from testbed.scanning import scan
from testbed.targets import target_lines, targets

OTHER_TIMESTEPS = (1, 21, 101, 201)
ENLARGED = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("proof"), help="folder for the scan and the grids")
    parser.add_argument("--derivative", choices=DERIVATIVES, help="by default the bundle's")
    arguments = parser.parse_args()
    out, bundle = arguments.out, open_bundle(BUNDLE)
    derivative = arguments.derivative or bundle.defaults.derivative
    request = Request(timesteps=_timesteps(bundle), save_images=True, derivative=derivative)
    results = scan(bundle, MANIFEST, out / "scan", request)
    training_images = _training_images()

    _heading(
        f"Mean of h = sigma diag(J) by region, {derivative} derivative (exact: 1 is fully collapsed), all captions"
    )
    _print(region_lines(region_means(results)))
    _heading("Distance to what was memorized, in the memorized region (pixels in [0, 1])")
    _print(fidelity_lines(fidelity(bundle, results, training_images)))
    evaluation = evaluate(results, read_ground_truth(str(GROUND_TRUTH)), "heldout")
    _heading("Held-out captions")
    print(table(evaluation.records))
    _print(evaluation.notes)
    (default,) = bundle.defaults.timesteps
    guidance = bundle.defaults.guidance_scale
    _heading(f"Targets, held-out captions, {derivative} derivative, timestep {default}, guidance {guidance:g}")
    _print(target_lines(targets([record for record in evaluation.records if record.timestep == default])))

    _heading("Grids: a training image, then generated ones")
    images = generated_images(results)
    for kind in ("global", "local", "none"):
        rows = [[training_images[c.prompt] / 255, *images[c.prompt]] for c in of_kind(kind)]
        file = out / f"{kind}.png"
        _grid(rows).save(file)
        print(file)


def _timesteps(bundle: Bundle) -> tuple[int, ...]:
    return tuple(sorted({*OTHER_TIMESTEPS, *bundle.defaults.timesteps}))


def _training_images() -> dict[str, NDArray[np.uint8]]:
    rows = pq.read_table(GROUND_TRUTH, columns=["prompt", "training_image"]).to_pylist()
    return {row["prompt"]: np.asarray(Pillow.open(io.BytesIO(row["training_image"]))) for row in rows}


def _grid(rows: list[list[NDArray[np.float64]]], columns: int = 2) -> Pillow.Image:
    strips = [np.concatenate(row, axis=1) for row in rows]
    strips += [np.zeros_like(strips[0])] * (-len(strips) % columns)
    height = len(strips) // columns
    sheet = np.concatenate([np.concatenate(strips[i * height : (i + 1) * height]) for i in range(columns)], axis=1)
    image = Pillow.fromarray(np.round(sheet * 255).astype(np.uint8))
    return image.resize((image.width * ENLARGED, image.height * ENLARGED), Pillow.Resampling.NEAREST)


def _heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
