# memscan in an environment without torch, pip and compilers, for a user that is not root, or for any other.
#   docker build -t memscan .                                       scans on the CPU
#   docker build -t memscan:cuda --target cuda .                    on NVIDIA GPUs, with ONNX Runtime
#   docker build -t memscan:tensorrt --target tensorrt .            with TensorRT
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/data" memscan run manifest.parquet
#   docker run --rm --gpus all -v "$PWD:/data" -v plans:/cache memscan:tensorrt build model.bundle
# Pin the base by its digest where builds must be the same: --build-arg BASE=python:3.13-slim@sha256:...
ARG BASE=python:3.13-slim

FROM ${BASE} AS wheel
WORKDIR /source
COPY locks/build.txt locks/build.txt
RUN python3 -m venv /build && /build/bin/pip install --no-cache-dir --require-hashes --requirement locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY scanner scanner
COPY export export
COPY kernels kernels
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM wheel AS installer
COPY locks/install locks/install

FROM installer AS installed-cpu
COPY locks/cpu.txt locks/cpu.txt
RUN locks/install locks/cpu.txt

FROM installer AS installed-cuda
COPY locks/cuda.txt locks/cuda.txt
RUN locks/install locks/cuda.txt

# Two of TensorRT's packages are small sources, which fetch the libraries from their vendor's index: the lock vouches for
# the sources alone.
FROM installer AS installed-tensorrt
COPY locks/tensorrt.txt locks/tensorrt.txt
RUN locks/install locks/tensorrt.txt --no-binary tensorrt-cu13 --no-binary tensorrt-cu13-libs

# Of group 0, which an arbitrary user of OpenShift has too; /cache is for plans and may be a volume.
FROM ${BASE} AS runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="memscan" \
      org.opencontainers.image.description="Finds whether and where a diffusion model reproduces training images" \
      org.opencontainers.image.licenses="Apache-2.0 AND MIT" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp memscan \
    && install --directory --owner=10001 --group=0 --mode=0770 /cache /data
ENV PATH=/opt/memscan/bin:$PATH \
    HOME=/tmp \
    XDG_CACHE_HOME=/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1
WORKDIR /data
USER 10001:0
# A run whose folder is given as MEMSCAN_RUN_OUT is alive while its work advances.
HEALTHCHECK --interval=1m --timeout=30s --start-period=10m CMD ["/bin/sh", "-c", \
    "test -z \"$MEMSCAN_RUN_OUT\" || memscan health \"$MEMSCAN_RUN_OUT\" --max-age \"${MEMSCAN_HEALTH_MAX_AGE:-1h}\""]
ENTRYPOINT ["memscan"]
CMD ["--help"]

FROM runtime AS cuda
COPY --from=installed-cuda /opt/memscan /opt/memscan

FROM runtime AS tensorrt
COPY --from=installed-tensorrt /opt/memscan /opt/memscan

FROM runtime AS cpu
COPY --from=installed-cpu /opt/memscan /opt/memscan
