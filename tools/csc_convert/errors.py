"""Everything that can go wrong in a conversion, as exceptions with one clear sentence each."""

from __future__ import annotations


class ConvertError(ValueError):
    """A conversion cannot be done; the text says what, where, why and what to do."""


class UnsupportedModel(ConvertError):  # noqa: N818
    """The model is well-formed, but the converter or the blob format has no means for it."""


class BadCheckpoint(ConvertError):  # noqa: N818
    """Files of the model are missing, damaged or contradict each other."""


class BadCalibration(ConvertError):  # noqa: N818
    """The calibration data cannot be used with this model."""


class AccuracyGate(ConvertError):  # noqa: N818
    """The integer model is less accurate than the caller demands."""


class NoPlan(ConvertError):  # noqa: N818
    """There is no plan of a blob for a chip."""


class GraphError(ConvertError):
    """A graph breaks a rule: a fault of an importer or a pass, not of the user."""
