# memscan without torch. The scan on the CPU, with ONNX Runtime:
#   docker build -t memscan .
#   docker run --rm -v "$PWD:/data" memscan run manifest.parquet
# On NVIDIA GPUs, with TensorRT; the volume keeps its plans:
#   docker build -t memscan:tensorrt --build-arg EXTRAS=tensorrt .
#   docker run --rm --gpus all -v "$PWD:/data" -v plans:/plans memscan:tensorrt build model.bundle
#   docker run --rm --gpus all -v "$PWD:/data" -v plans:/plans memscan:tensorrt \
#       run manifest.parquet --model model.bundle --engine tensorrt
ARG PYTHON=3.11-slim
ARG EXTRAS=cpu

FROM python:${PYTHON} AS wheel
WORKDIR /source
COPY pyproject.toml README.md constraints.txt ./
COPY scanner scanner
COPY export export
COPY kernels kernels
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}
ARG EXTRAS
LABEL org.opencontainers.image.title="memscan" \
      org.opencontainers.image.description="Finds whether and where a diffusion model reproduces training images" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/memscan-*.whl)[${EXTRAS}]" \
    && rm -r /wheels \
    && useradd --uid 10001 --gid 0 --no-create-home memscan \
    && install --directory --owner=10001 --mode=0700 /plans/memscan/plans
ENV PYTHONUNBUFFERED=1 HOME=/tmp XDG_CACHE_HOME=/plans ORT_DISABLE_TELEMETRY=1
WORKDIR /data
USER 10001
ENTRYPOINT ["memscan"]
CMD ["--help"]
