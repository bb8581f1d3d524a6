# make demo   sets up .venv and runs the main job on the real model
# make test   sets up .venv and passes all tests
# make format rewrites C and Python in the project's style

VENV := .venv
PYTHON := $(VENV)/bin/python
CSC := $(VENV)/bin/csc
SECTIONS := examples/debian_sections
DEMO := build/demo
SOURCES := $(shell find cruntime python tools CMakeLists.txt pyproject.toml -type f -not -name '*.pyc')

.PHONY: demo test format clean

$(VENV)/.demo: $(SOURCES)
	tools/setup.sh $(VENV) '.[example]'
	@touch $@

$(VENV)/.test: $(SOURCES)
	tools/setup.sh $(VENV) '.[test]'
	@touch $@

demo: $(VENV)/.demo
	@mkdir -p $(DEMO)
	$(PYTHON) $(SECTIONS)/make_calibration.py -o $(DEMO)/calibration.npz
	$(PYTHON) $(SECTIONS)/make_calibration.py --split validation -o $(DEMO)/validation.npz
	$(CSC) convert $(SECTIONS)/checkpoint -o $(DEMO)/sections.cscb --calibration $(DEMO)/calibration.npz --min-agreement 0.99
	$(CSC) verify $(DEMO)/sections.cscb $(SECTIONS)/checkpoint --data $(DEMO)/validation.npz --min-agreement 0.99
	$(PYTHON) $(SECTIONS)/classify.py $(DEMO)/sections.cscb "A fast and small window manager for the X Window System"
	$(PYTHON) $(SECTIONS)/classify.py $(DEMO)/sections.cscb --backend cs1 "Chess engine with an opening book"

test: $(VENV)/.test
	$(PYTHON) -m pytest -n auto

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	git ls-files 'cruntime/*.[ch]' 'python/ffi/host.h' 'tests/*.c' | grep -v /gen/ | xargs $(VENV)/bin/clang-format -i

clean:
	rm -rf build $(VENV)
