"""Converter: makes integer-only blobs from trained encoders.

>>> from csc_convert import convert
>>> convert("model/", "model.cscb", calibration="calibration.npz").report.output_sqnr_db
"""

from .convert import Conversion, convert, write_file
from .cs2 import ChipPlan, make_plan, plan_chip
from .errors import (
    AccuracyGate,
    BadCalibration,
    BadCheckpoint,
    ConvertError,
    NoPlan,
    UnsupportedModel,
)
from .report import Report
from .source import FloatModel, load_source

__all__ = [
    "AccuracyGate",
    "BadCalibration",
    "BadCheckpoint",
    "ChipPlan",
    "Conversion",
    "ConvertError",
    "FloatModel",
    "NoPlan",
    "Report",
    "UnsupportedModel",
    "convert",
    "load_source",
    "make_plan",
    "plan_chip",
    "write_file",
]
