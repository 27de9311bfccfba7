# Two commands: `make demo` and `make test`. Both install what they need.
.DELETE_ON_ERROR:
# Python packages and servers are installed in parallel, and tests run in parallel with the checks.
MAKEFLAGS += --jobs=2
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
# Three processes, as one of them usually waits for a server (order of files: tests/conftest.py).
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo test suite check unit integration acceptance bench campaign pictures servers clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)        ## send a phantom study through the node and show its results
	$(BIN)/python -m deploy.demo

test: check suite     ## all checks and all tests
suite: $(READY) servers
	$(BIN)/pytest $(SIDE_BY_SIDE)

check: $(READY)       ## style, types and import contracts, without tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit integration acceptance: $(READY)   ## one kind of test
	$(BIN)/pytest tests/$@

bench: $(READY) servers   ## run the benchmarks; writes docs/benchmarks.md
	$(BIN)/python -m deploy.bench

campaign: $(READY)    ## kill, cut and load a node; updates docs/reliability.md (KILLS, MINUTES, INSTANCES)
	$(BIN)/python -m deploy.campaign --kills $(or $(KILLS),200) --minutes $(or $(MINUTES),60) \
	  --instances $(or $(INSTANCES),20000)

pictures: $(READY) servers   ## update the screenshots in docs/images from the browser tests
	$(BIN)/pytest tests/acceptance -k "every_page_can_be_used or pictures_of_the_pages or a_picture_of"
	$(BIN)/python -m deploy.document_images

servers:              ## install the servers and the viewer the tests run against
	sh deploy/install-test-servers.sh
	sh deploy/install-test-viewer.sh

clean:
	rm -rf .venv demo-output campaign-output test-artefacts
