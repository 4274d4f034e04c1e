"""The embedded bundle is what the pipeline in the repository exports to, with the calibrated defaults."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memscan.export.certificate.agreement import certified
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.embedded import BUNDLE, GROUND_TRUTH, MANIFEST
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.settings import DERIVATIVES
from testbed.embed import calibrated_options
from testbed.scanning import EXECUTION, export
from testbed.tables import HOME
from tests.default_maps import MAPS

LIMIT = 16e6  # bytes of package data that the wheel may carry


def test_embedded_model_and_baseline_are_those_of_the_repository() -> None:
    bundle = open_bundle(BUNDLE)
    assert bundle.model_digest == find_checkpoint(str(HOME / "pipeline")).digest
    assert bundle.baseline_digest == find_checkpoint(str(HOME / "baseline"), parts=("unet",)).digest
    for embedded, own in ((MANIFEST, "manifest.parquet"), (GROUND_TRUTH, "ground_truth.parquet")):
        assert embedded.read_bytes() == (HOME / own).read_bytes()


def test_embedded_defaults_are_the_calibrated_ones() -> None:
    bundle, options = open_bundle(BUNDLE), calibrated_options()
    assert bundle.certificate is not None
    assert bundle.defaults == dataclasses.replace(options.defaults, derivative=certified(bundle.certificate))
    assert bundle.calibrations == options.calibrations
    calibrated = {(one.derivative, one.map, one.timestep) for one in bundle.calibrations}
    assert set(itertools.product(DERIVATIVES, MAPS, (1, 21, 101))) <= calibrated


def test_embedded_files_fit_the_wheel() -> None:
    assert sum(file.stat().st_size for file in BUNDLE.parent.rglob("*") if file.is_file()) < LIMIT


def test_exporting_again_gives_the_embedded_bundle(tmp_path: Path) -> None:
    export(HOME / "pipeline", HOME / "baseline", tmp_path / "again", calibrated_options())
    embedded, again = open_bundle(BUNDLE), open_bundle(tmp_path / "again")
    assert again.model_digest == embedded.model_digest
    assert again.defaults == embedded.defaults
    for baseline in (False, True):
        for one, other in zip(_measured(embedded, baseline), _measured(again, baseline), strict=True):
            # The same graph and weights: only the order of float32 sums may differ between versions.
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * np.abs(one).max())


def _measured(bundle: Bundle, baseline: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(2, *bundle.latent_shape)).astype(np.float32)
    tangents = rng.choice((-1.0, 1.0), size=(bundle.tangents_per_call, *sample.shape)).astype(np.float32)
    engine = open_graphs(bundle, EXECUTION)
    ids = [np.full((1, rule.max_length), rule.eos_token_id, np.int64) for rule in bundle.text.tokenizers]
    text = engine.encode_text(ids, baseline=baseline)
    cond = {name: engine.upload(np.repeat(values, 2, axis=0)) for name, values in text.items()}
    level = noise_level(bundle.schedule, 101)
    eps, v_dot_jv = engine.measure(
        engine.upload(sample), level, cond, engine.upload(tangents), derivative="exact", baseline=baseline
    )
    return engine.download(eps), engine.download(v_dot_jv)
