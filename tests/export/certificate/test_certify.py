"""The certificate of an exported checkpoint, measured anew from the maps that its scans leave."""

from pathlib import Path

import numpy as np
import pytest

from memscan.export.certificate.agreement import certified
from memscan.export.certificate.certify import certify, format_certificate
from memscan.scanner.api import scan
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.settings import Derivative

PROMPTS = ("a red house", "two blue dogs", "a photo of a cat")


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


def _maps(bundle: Bundle, derivative: Derivative, name: str) -> np.ndarray:
    results = scan(
        list(PROMPTS),
        model=bundle,
        sampler="dpmsolver++",
        num_inference_steps=10,
        timesteps=bundle.defaults.timesteps,
        images=False,
        derivative=derivative,
    )
    return np.stack([results.map(name, row) for row in range(len(PROMPTS))]).astype(np.float64).ravel()


def test_certificate_says_how_scans_by_the_kinds_agree(bundle: Bundle) -> None:
    said: list[str] = []
    certificate = certify(bundle.path, PROMPTS, said.append)
    assert certificate.prompts == len(PROMPTS)
    assert {one.derivative for one in certificate.agreements} == {"frozen", "shallow"}
    assert {one.timestep for one in certificate.agreements} == set(bundle.defaults.timesteps)
    for one in certificate.agreements:
        found, exact = _maps(bundle, one.derivative, one.map), _maps(bundle, "exact", one.map)
        assert one.correlation == pytest.approx(np.corrcoef(exact, found)[0, 1], rel=1e-6)
        assert one.scale == pytest.approx(np.polyfit(exact, found, 1)[0], rel=1e-6)
    assert len(said) == 1 and "3 images" in said[0] and "shallow, frozen, exact" in said[0]
    table = format_certificate(certificate).splitlines()
    assert len(table) == len(certificate.agreements) + 2
    assert table[-1] == f"default derivative: {certified(certificate)}"
