# Everything runs in .venv, which is made on first use with nothing but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

# A session and its workers are dozens of processes that import the same packages: without their bytecode on disk (some
# images switch it off) each spends twice as long on its imports.
unexport PYTHONDONTWRITEBYTECODE

define COMBINATIONS
AVX2 default AVX2 1
AVX2 avx2 AVX2 2
AVX512_CORE avx512 AVX512 1
AVX512_CORE_BF16 avx2 AVX512 2
AVX512_CORE_AMX avx512 AVX512 1
endef
export COMBINATIONS

.PHONY: demo test soak numerics lint types check docs bench tables clean

.venv/ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON): give another, make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is " + sys.version.split()[0] + ": give another, make demo PYTHON=python3.12")'
	@echo "The environment is made in .venv, once: about 5 GB to fetch, minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/ready  ## a small corpus, small teachers, labels, students: five to six minutes on two cores, no network
	@$(BIN)/python jobs/demo.py

# One process for all that runs on Ray, where most of the time goes into waiting for processes to start, and two for the
# rest. One thread each: two that wait for each other on a busy machine are many times slower than one.
test: .venv/ready  ## all tests, the slow ones too
	@echo "All tests: about nine minutes on two cores that do nothing else"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3

# Each line: instructions for oneDNN, for PyTorch's own loops and for MKL, and threads. They only take away: what a CPU
# does not have it goes without.
numerics: SHELL := /bin/bash
numerics: .venv/ready  ## the numerical tests as other kinds of CPU would compute them
	@failed=""; while read -r onednn aten mkl threads; do \
		echo "== oneDNN $$onednn, PyTorch $$aten, MKL $$mkl, $$threads thread(s)"; \
		ONEDNN_MAX_CPU_ISA=$$onednn ATEN_CPU_CAPABILITY=$$aten MKL_ENABLE_INSTRUCTIONS=$$mkl OMP_NUM_THREADS=$$threads \
			$(BIN)/python -m pytest -q -m numerics --durations=0 --durations-min=5 < /dev/null || failed="$$failed $$onednn/$$aten/$$threads"; \
	done <<< "$$COMBINATIONS"; test -z "$$failed" || { echo "failed as:$$failed"; exit 1; }

soak: .venv/ready  ## the long random ones: machines, workers and drivers killed many times; quick runs of the benchmarks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: .venv/ready
	$(BIN)/mypy

check: lint types test

bench: .venv/ready  ## how fast everything is, beside the machine's limit and the naive way (up to three quarters of an hour)
	$(BIN)/python benchmarks/bench.py

tables: .venv/ready  ## the README's tables and pictures, from the committed records
	$(BIN)/python jobs/reproduce_tables.py --records results --readme README.md docs/results.md --output out/tables
	$(BIN)/python benchmarks/evidence.py

docs: .venv/ready  ## the site in out/site; strict, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf out
