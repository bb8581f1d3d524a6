"""A CS2 chip with the memory of a scene, and the comparison with the reference."""

from __future__ import annotations

import numpy as np

from cs2_cases import STORE, Scene
from cs2_reference import Reference
from csc.chip import Chip, Run
from csc_convert.cs2_format import COMMAND_BYTES

PROGRAM_ROOM = 128 * COMMAND_BYTES


class ChipBench:
    """External memory: space WEIGHTS, space STORE, and behind the scene's part of it a program."""

    def __init__(self, scene: Scene, **parameters: int) -> None:
        self.scene = scene
        room = np.zeros(PROGRAM_ROOM, np.uint8)
        self.external = np.concatenate([scene.weights, scene.store, room])
        self.weights = 0, len(scene.weights)
        self.store = len(scene.weights), len(scene.store) + PROGRAM_ROOM
        size = len(scene.sram)
        self.chip = Chip("cs2", external=self.external, sram_bytes=size, **parameters)
        self.chip.write_sram(0, scene.sram)

    def run(self, program, **options) -> Run:
        at = options.pop("at", STORE + len(self.scene.store))
        spaces = {"weights": self.weights, "store": self.store}
        options = {"max_clocks": 3_000_000, **spaces, **options}
        return self.chip.run(np.stack(program), self.scene.params, at=at, **options)

    @property
    def sram(self) -> np.ndarray:
        return np.frombuffer(self.chip.read_sram(0, len(self.scene.sram)), np.uint8)

    @property
    def stored(self) -> np.ndarray:
        start = self.store[0]
        return self.external[start : start + len(self.scene.store)]

    def assert_same(self, reference: Reference) -> None:
        """All bytes of all memories are those of the reference, but for the unspecified ones."""
        for name, left, right, space in (
            ("SRAM", self.sram, reference.sram, 0),
            ("STORE", self.stored, reference.store, 2),
        ):
            wrong = np.flatnonzero((left != right) & ~reference.unspecified[space])
            assert not len(wrong), f"{len(wrong)} bytes of {name} differ, the first at {wrong[0]}"
        weights = self.external[: len(self.scene.weights)]
        np.testing.assert_array_equal(weights, self.scene.weights)

    def assert_untouched(self) -> None:
        np.testing.assert_array_equal(self.sram, self.scene.sram)
        np.testing.assert_array_equal(self.stored, self.scene.store)


def run_and_compare(scene: Scene, program, **parameters: int) -> Run:
    """Run a program on both and return how it went."""
    reference = scene.reference(check_hazards=True)
    reference.execute(np.stack(program))
    bench = ChipBench(scene, **parameters)
    run = bench.run(program)
    bench.assert_same(reference)
    return run
