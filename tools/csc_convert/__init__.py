"""Converter: makes integer-only blobs from trained encoders.

>>> from csc_convert import convert
>>> convert("model/", "model.cscb", calibration="calibration.npz").report.output_sqnr_db
"""

from .convert import Conversion, convert, write_file
from .errors import AccuracyGate, BadCalibration, BadCheckpoint, ConvertError, UnsupportedModel
from .report import Report
from .source import FloatModel, load_source

__all__ = [
    "AccuracyGate",
    "BadCalibration",
    "BadCheckpoint",
    "Conversion",
    "ConvertError",
    "FloatModel",
    "Report",
    "UnsupportedModel",
    "convert",
    "load_source",
    "write_file",
]
