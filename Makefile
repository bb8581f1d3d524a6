# make demo   sets up .venv and runs the main job on the real model
# make test   sets up .venv and passes all tests
# make firmware builds the firmware the package carries (needs the cross compilers)
# make format rewrites C and Python in the project's style

VENV := .venv
PYTHON := $(VENV)/bin/python
CSC := $(VENV)/bin/csc
SECTIONS := examples/debian_sections
DEMO := build/demo
TEXTS := "a fast and small window manager for the X window system" \
  "chess engine with an opening book" "header files and static library for image processing"
SETUP = $(VENV)/.demo
SOURCES := $(shell find cruntime python tools CMakeLists.txt pyproject.toml -type f -not -name '*.pyc')

BOARDS := $(notdir $(wildcard firmware/boards/*))

.PHONY: demo test firmware format clean

$(VENV)/.demo: $(SOURCES)
	tools/setup.sh $(VENV) '.[example,plot]'
	@touch $@

$(VENV)/.test: $(SOURCES)
	tools/setup.sh $(VENV) '.[test]'
	@touch $@

demo: $(SETUP)
	@mkdir -p $(DEMO)
	$(PYTHON) $(SECTIONS)/make_calibration.py -o $(DEMO)/calibration.npz
	$(PYTHON) $(SECTIONS)/make_calibration.py --split validation -o $(DEMO)/validation.npz
	$(CSC) convert $(SECTIONS)/checkpoint -o $(DEMO)/sections.cscb --calibration $(DEMO)/calibration.npz --min-agreement 0.99 --json $(DEMO)/convert.json
	$(CSC) verify $(DEMO)/sections.cscb $(SECTIONS)/checkpoint --data $(DEMO)/validation.npz --min-agreement 0.99 --json $(DEMO)/verify.json
	$(PYTHON) $(SECTIONS)/classify.py $(DEMO)/sections.cscb $(TEXTS)
	$(CSC) infer $(DEMO)/sections.cscb --input $(DEMO)/validation.npz --limit 1 --backend cs1 --json $(DEMO)/cs1.json
	$(CSC) profile $(DEMO)/sections.cscb --chip cs1 --tokens 8 --json $(DEMO)/profile.json --trace $(DEMO)/profile.trace.json --plot $(DEMO)/profile.png
	$(CSC) profile $(DEMO)/sections.cscb --compare cs1,cs2 --tokens 8
	$(CSC) profile $(DEMO)/sections.cscb --chip cs2 --tokens 128 --json $(DEMO)/cs2.json --trace $(DEMO)/cs2.trace.json --plot $(DEMO)/cs2.png

test: $(VENV)/.test
	$(PYTHON) -m pytest -n auto --dist loadgroup

firmware: $(VENV)/.test
	@mkdir -p python/csc/boards
	for board in $(BOARDS); do \
	  PATH="$(abspath $(VENV)/bin):$$PATH" && cmake --preset $$board && \
	  cmake --build build/$$board && \
	  cp build/$$board/firmware/csc-$$board.elf python/csc/boards/$$board.elf || exit 1; \
	done

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	git ls-files 'cruntime/*.[ch]' 'firmware/*.[ch]' 'python/ffi/host.h' 'tests/*.c' | grep -v /gen/ | xargs $(VENV)/bin/clang-format -i

clean:
	rm -rf build $(VENV)
