"""A CS2 chip with the memory of a scene, and the comparison with the reference."""

from __future__ import annotations

import numpy as np

from cs2_cases import PROGRAM, STORE, Scene
from cs2_reference import Reference
from csc.chip import Chip, Run


class ChipBench:
    """External memory: space WEIGHTS, and space STORE with the program at its end."""

    def __init__(self, scene: Scene, **parameters: int) -> None:
        self.scene = scene
        self.external = np.concatenate([scene.weights, scene.store])
        self.weights = 0, len(scene.weights)
        self.store = len(scene.weights), len(scene.store)
        size = len(scene.sram)
        self.chip = Chip("cs2", external=self.external, sram_bytes=size, **parameters)
        self.chip.write_sram(0, scene.sram)

    def run(self, program, **options) -> Run:
        at = options.pop("at", STORE + PROGRAM)
        spaces = {"weights": self.weights, "store": self.store}
        options = {"max_clocks": 3_000_000, **spaces, **options}
        return self.chip.run(np.stack(program), self.scene.params, at=at, **options)

    @property
    def sram(self) -> np.ndarray:
        return np.frombuffer(self.chip.read_sram(0, len(self.scene.sram)), np.uint8)

    @property
    def stored(self) -> np.ndarray:
        """Space STORE but for the program."""
        return self.external[self.store[0] :][:PROGRAM]

    def assert_same(self, reference: Reference) -> None:
        """All bytes of all memories are those of the reference, but for the unspecified ones."""
        for name, left, right, space in (
            ("SRAM", self.sram, reference.sram, 0),
            ("STORE", self.stored, reference.store[:PROGRAM], 2),
        ):
            wrong = np.flatnonzero((left != right) & ~reference.unspecified[space][: len(left)])
            assert not len(wrong), f"{len(wrong)} bytes of {name} differ, the first at {wrong[0]}"
        weights = self.external[: len(self.scene.weights)]
        np.testing.assert_array_equal(weights, self.scene.weights)

    def assert_untouched(self) -> None:
        np.testing.assert_array_equal(self.sram, self.scene.sram)
        np.testing.assert_array_equal(self.stored, self.scene.store[:PROGRAM])


def run_and_compare(scene: Scene, program, **parameters: int) -> Run:
    """Run a program on both and return how it went."""
    reference = scene.reference(check_hazards=True)
    reference.execute(np.stack(program))
    bench = ChipBench(scene, **parameters)
    run = bench.run(program)
    bench.assert_same(reference)
    return run
