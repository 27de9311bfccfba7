# Two commands do everything: `make demo` and `make test`. Both set up what they need.
.DELETE_ON_ERROR:
# Packages for Python and servers are fetched at the same time, and tests run beside the checks.
MAKEFLAGS += --jobs=2
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
# Whole files, and those first that wait for servers; three, for most of the time one of them waits.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo test suite check unit integration acceptance bench pictures servers clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)        ## a phantom study goes in, findings come back
	$(BIN)/python -m deploy.demo

test: check suite     ## every check and, beside it, every test
suite: $(READY) servers
	$(BIN)/pytest $(SIDE_BY_SIDE)

check: $(READY)       ## style, types and import contracts; no test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit integration acceptance: $(READY)   ## one kind of test
	$(BIN)/pytest tests/$@

bench: $(READY) servers   ## measure beside peers; writes docs/benchmarks.md
	$(BIN)/python -m deploy.bench

pictures: $(READY) servers   ## the pictures of the page in docs/images, as the browser tests see it
	$(BIN)/pytest tests/acceptance -k "every_page_can_be_used or pictures_of_the_pages or a_picture_of"
	$(BIN)/python -m deploy.document_images

servers:              ## the real servers and the viewer that the tests run against
	sh deploy/install-test-servers.sh
	sh deploy/install-test-viewer.sh

clean:
	rm -rf .venv demo-output test-artefacts
