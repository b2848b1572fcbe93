# Every goal sets up what it needs by itself; what is up to date is not done again.
#   make demo [SCENE=folder]   relocalization end to end, on a simulated room or on your photos
#   make demo-articulation     a simulated robot filmed, learned, described and tracked by nodes
#   make test                  all tests
#   make lint | format         check or mend the style
#   make bench                 measure accuracy and speed; writes benchmarks/results/
#   make bench-refiners        feature alignment against NeFeS on the same maps and starts
#   make bench-peers           the ladder against SIFT + pycolmap, clean and spoiled photos
#   make bench-regressors       DFNet with random view synthesis against PoseNet, simulated room
#   make bench-articulation    joints, images and times of articulated models
#   make bench-articulation-node  learning, following and re-posing by the node (BENCH_ARGS=DATA)
#   make bench-tracking        speed and angle errors of a learned robot that is tracked
#   make bench-capture         four raw cameras recorded: sets lost, bits changed, memory
#   make bench-gpu             times on a CUDA device, beside what is required of one
#   make docs                  regenerate the tables in docs/ from the code
#   make setup                 only the environment in .venv
# PYTHON names the interpreter that a new environment is made of.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: demo demo-articulation test lint format bench bench-refiners bench-peers bench-regressors bench-articulation bench-articulation-node bench-tracking bench-capture bench-gpu docs setup clean
.NOTPARALLEL:

demo: setup
	@.venv/bin/posefield demo relocalization $(if $(SCENE),--scene '$(SCENE)') --out out/demo

demo-articulation: setup
	@.venv/bin/posefield demo articulation --out out/demo-articulation

test: setup
	@.venv/bin/python -m pytest $(PYTEST_ARGS)

lint: setup
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

format: setup
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

bench: setup
	@.venv/bin/python benchmarks/relocalization.py $(BENCH_ARGS)

bench-refiners: setup
	@.venv/bin/python benchmarks/refiners.py $(BENCH_ARGS)

bench-peers: setup
	@.venv/bin/python benchmarks/peers.py $(BENCH_ARGS)

bench-regressors: setup
	@.venv/bin/python benchmarks/regressors.py $(BENCH_ARGS)

bench-articulation: setup
	@.venv/bin/python benchmarks/articulation.py $(BENCH_ARGS)

bench-articulation-node: setup
	@.venv/bin/python benchmarks/articulation_node.py $(BENCH_ARGS)

bench-tracking: setup
	@.venv/bin/python benchmarks/tracking.py $(BENCH_ARGS)

bench-capture: setup
	@.venv/bin/python benchmarks/capture.py $(BENCH_ARGS)

bench-gpu: setup
	@.venv/bin/python benchmarks/gpu.py $(BENCH_ARGS)

docs: setup
	@.venv/bin/python -m posefield.nodes.documentation docs/nodes.md

setup:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || { echo \
	  'error: $(PYTHON) is missing or older than 3.10: install Python, or name one: make PYTHON=...' \
	  >&2; exit 1; }
	@'$(PYTHON)' tools/setup_environment.py

clean:
	rm -rf .venv build out ros2_ws/build ros2_ws/install ros2_ws/log ros2_ws/generated
