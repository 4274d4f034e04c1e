# make demo   install memscan without torch into .venv-demo and run the demo
# make test   install everything into .venv and run the tests
PYTHON ?= python3
VENV := .venv
DEMO_VENV := .venv-demo
RELEASE_VENV := .venv-release

.PHONY: demo test slow browser spark lint types proof bench release audit clean

demo: $(DEMO_VENV)/installed
	$(DEMO_VENV)/bin/memscan demo --out memscan-demo

# A process for each core, up to four; tests/conftest.py gives each cores of its own.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

slow: $(VENV)/installed
	$(VENV)/bin/python -m pytest -m slow

# Needs Chromium and its driver, as the distribution has them.
browser: $(VENV)/installed
	$(VENV)/bin/python -m pytest -m browser

# Needs Java; brings Spark, half a gigabyte.
spark: $(VENV)/installed
	$(VENV)/bin/pip install --quiet --constraint constraints.txt pyspark
	$(VENV)/bin/python -m pytest -m spark

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint Dockerfile

# mypy finds the parts of a namespace package in an ordinary installation only.
types: $(VENV)/installed
	rm -rf build
	$(VENV)/bin/pip install --quiet --no-deps --target build/typed .
	MYPYPATH=build/typed $(VENV)/bin/mypy --explicit-package-bases -p memscan.scanner -p memscan.export -p memscan.kernels

proof: $(VENV)/installed
	$(VENV)/bin/python -m testbed.proof

bench: $(VENV)/installed
	$(VENV)/bin/python -m benchmarks.derivative
	$(VENV)/bin/python -m benchmarks.attention
	$(VENV)/bin/python -m benchmarks.throughput
	$(VENV)/bin/python -m benchmarks.overhead
	$(VENV)/bin/python -m benchmarks.memory
	$(VENV)/bin/python -m benchmarks.kernel_registers

# Wheel, source, CycloneDX bills of materials of what the images install, and the documents as a site.
release: $(RELEASE_VENV)/installed
	$(RELEASE_VENV)/bin/python -m build --outdir dist .
	for lock in cpu cuda tensorrt; do $(RELEASE_VENV)/bin/cyclonedx-py requirements locks/$$lock.txt \
	    --pyproject pyproject.toml --output-reproducible --output-file dist/memscan-$$lock.cdx.json || exit 1; done
	$(RELEASE_VENV)/bin/mkdocs build --strict --site-dir dist/site

# Known weaknesses of what the images install; wants the index's own answers, which a mirror may not have.
audit: $(RELEASE_VENV)/installed
	for lock in cpu cuda tensorrt; do $(RELEASE_VENV)/bin/pip-audit --requirement locks/$$lock.txt --disable-pip \
	    --require-hashes --strict || exit 1; done

$(RELEASE_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/pip install --quiet "build>=1.2" "cyclonedx-bom>=7" "mkdocs-material>=9.6" "pip-audit>=2.9"
	touch $@

$(DEMO_VENV)/installed: pyproject.toml constraints.txt $(wildcard scanner/*.py scanner/*/*.py scanner/*/*/*.py)
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/pip install --quiet --constraint constraints.txt ".[cpu]"
	touch $@

# torch first and by its exact version: an unpinned torch would bring gigabytes of CUDA libraries.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[cpu,export,test]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO_VENV) $(RELEASE_VENV) build dist memscan-demo
