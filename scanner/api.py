"""The interface for Python: `scan` does what `memscan run` does, and gives the results as an object."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from memscan.scanner.bundle import Bundle
from memscan.scanner.calibration.record import find_calibration
from memscan.scanner.errors import UsageError
from memscan.scanner.input.columns import DEFAULT_COLUMNS, Columns
from memscan.scanner.input.manifest import Manifest, open_manifest, prompt_manifest
from memscan.scanner.model_choice import choose_model
from memscan.scanner.notes import note, warn
from memscan.scanner.results.reader import Results, open_results
from memscan.scanner.run.job import make_job
from memscan.scanner.run.progress import Advance, show_progress, whole
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import Progress, run
from memscan.scanner.settings import Derivative, Engine, Execution, Fit, ProbeKind, Provider, Sampler, Stream


def scan(
    prompts: Sequence[str] | str | Path,
    *,
    model: str | Path | Bundle | None = None,
    out: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    columns: Columns = DEFAULT_COLUMNS,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int | None = None,
    maps: bool = True,
    images: bool = True,
    steps: Sequence[int] = (),
    timesteps: Sequence[int] = (),
    sampler: Sampler | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    probe_kind: ProbeKind | None = None,
    num_probes: int | None = None,
    probe_seed: int | None = None,
    derivative: Derivative | None = None,
    rng: Stream = Request.stream,
    metrics: Sequence[str] = (),
    score: str | None = None,
    mask_map: str | None = None,
    threshold: float | None = None,
    smooth: int = Request.smooth,
    screen: bool = False,
    fit: Fit = Request.fit,
    calibration: str | Path | None = None,
    engine: Engine = Execution.engine,
    provider: Provider = Execution.provider,
    batch_size: int | None = None,
    threads: int = Execution.threads,
    max_errors: int | None = None,
    retry_errors: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Scan prompts, or the rows of a manifest, for memorization.

    What `memscan run` says on standard error goes to the logger "memscan".

    Args:
        prompts: a list of prompts; or a manifest: a path, a folder or a glob, as `memscan run` takes it.
        model: a bundle, its folder, or "testbed". None is `MEMSCAN_MODEL`, `memscan.toml`, or else the toy model.
        out: the folder of the results, or its URL in an object store, in which a scan that was stopped goes on. None
            keeps them in a temporary folder that vanishes with the returned object.
        seeds: of every prompt of a list, one image for each; by default 0. A manifest has seeds of its own.
        columns: the manifest's columns by their names, and those to carry through.
        limit: scan the first rows, so many; with a larger one, a scan in `out` goes on.
        sample: scan so many rows, chosen at random from all or the first; they keep their numbers. `sample_seed`, by
            default 0, says which.
        maps, images: keep whole maps, and the generated images.
        steps, timesteps: where to measure, by index or by training timestep; none leaves it to the bundle.
        derivative: the kind to measure by, one of the bundle's; None is its default.
        rng: the generator whose latents a seed gives, as in diffusers.
        metrics, score, mask_map, threshold, smooth, screen, fit: as the options of `memscan run`.
        calibration: its file; None is that of the model's folder, if it has one, and "none" is none.
        max_errors: stop when more images than this have failed.
        retry_errors: scan those images anew that failed before, in `out`; all others are kept.
        progress: is called with the numbers of images that are done and of all images, first and as they grow.
            None draws a bar where somebody listens to the logger, and there is a terminal or a notebook.

    Returns:
        The opened results. Rows that cannot be scanned are among them, with status "error"; those that
            `screen` left out have status "screened".

    Raises:
        UsageError: settings, manifest, bundle or folder are wrong (exit code 2 of the command line).
        TooManyErrors: more images failed than `max_errors`.
        EnvironmentFailed: memory or device failed (exit code 1).
        OSError: the disk failed, or is full.
    """
    _check_choice(limit, sample, sample_seed)
    manifest = _manifest(prompts, seeds, columns).chosen(limit, sample, sample_seed)
    bundle = model if isinstance(model, Bundle) else _opened(model)
    request = Request(
        steps=tuple(steps),
        timesteps=tuple(timesteps),
        sampler=sampler,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        probe_kind=probe_kind,
        num_probes=num_probes,
        probe_seed=probe_seed,
        derivative=derivative,
        stream=rng,
        metrics=tuple(metrics),
        score_name=score,
        mask_map=mask_map,
        threshold=threshold,
        smooth=smooth,
        screen=screen,
        save_maps=maps,
        save_images=images,
        carry=columns.carry,
        fit=fit,
    )
    calibrated = find_calibration(bundle, calibration)
    if calibrated is not None:
        note(calibrated.record.line())
    execution = Execution(batch_size=batch_size, threads=threads, provider=provider, engine=engine)
    kept = tempfile.TemporaryDirectory(prefix="memscan-") if out is None else None
    folder = out if kept is None else kept.name
    job = make_job(
        manifest,
        bundle,
        request,
        execution,
        folder,
        max_errors=max_errors,
        retry_errors=retry_errors,
        calibration=calibrated,
        warn=warn,
    )
    run(job, note=note, progress=show_progress if progress is None else _calling(progress))
    return open_results(job.out, kept=kept)


def _manifest(prompts: Sequence[str] | str | Path, seeds: Sequence[int] | None, columns: Columns) -> Manifest:
    if isinstance(prompts, str | Path):
        if seeds is not None:
            raise UsageError("seeds are for a list of prompts: a manifest has a column of its own")
        manifest = open_manifest(str(prompts), columns)
        for remark in manifest.remarks:
            note(remark)
        return manifest
    if not prompts:
        raise UsageError("no prompts to scan: give at least one")
    if columns != DEFAULT_COLUMNS:
        raise UsageError("columns are for a manifest: a list of prompts has none")
    return prompt_manifest(tuple(prompts), None if seeds is None else tuple(seeds))


def _check_choice(limit: int | None, sample: int | None, sample_seed: int | None) -> None:
    for name, value, least in (("limit", limit, 1), ("sample", sample, 1), ("sample_seed", sample_seed, 0)):
        if value is not None and not least <= value < 2**63:
            raise UsageError(f"{name} is {value}: give {least} or more")
    if sample is None and sample_seed is not None:
        raise UsageError("sample_seed is of a sample: say how many rows")


def _opened(model: str | Path | None) -> Bundle:
    chosen = choose_model(model)
    if chosen.is_toy and chosen.named_by is None:
        warn("TOY MODEL: no model is named: scanning the embedded toy, which knows only its own few captions")
    return chosen.open()


def _calling(progress: Callable[[int, int], None]) -> Progress:
    """`progress`, as the runner wants it."""

    @contextlib.contextmanager
    def calling(total: int, done: int) -> Iterator[Advance]:
        finished = float(done)
        progress(done, total)

        def advance(count: float, errors: int) -> None:
            nonlocal finished
            before, finished = whole(finished), finished + count
            if whole(finished) != before:
                progress(whole(finished), total)

        yield advance

    return calling
