"""The planner for CS2: a small compiler from the ops of a blob to the commands of the chip.

lower (and attention) choose commands and their order, stream puts the loads of constants between
them, memory gives every buffer a place, order makes commands wait for each other, encode writes
the descriptors; plan holds all this together.
"""

from .plan import CHIPS, ChipPlan, make_plan, plan_chip

__all__ = ["CHIPS", "ChipPlan", "make_plan", "plan_chip"]
