# memscan without torch: the scan, on ONNX Runtime's CPU provider. Build with
#   docker build -t memscan .
#   docker run --rm -v "$PWD:/data" memscan run manifest.parquet
ARG PYTHON=3.11-slim

FROM python:${PYTHON} AS wheel
WORKDIR /source
COPY pyproject.toml README.md constraints.txt ./
COPY scanner scanner
COPY export export
COPY kernels kernels
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="memscan" \
      org.opencontainers.image.description="Finds whether and where a diffusion model reproduces training images" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/memscan-*.whl)[cpu]" \
    && rm -r /wheels \
    && useradd --uid 10001 --gid 0 --no-create-home memscan
ENV PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /data
USER 10001
ENTRYPOINT ["memscan"]
CMD ["--help"]
