"""CSC: the software of the CompactScale int8 AI chip.

>>> import csc
>>> model = csc.load("model.cscb")                      # doctest: +SKIP
>>> csc.infer(model, input_ids=[2, 17, 3])["logits"]    # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csc._backend import OpReport as OpReport
    from csc._generate import generate as generate
    from csc._profile import Report as Report
    from csc._profile import profile as profile
    from csc._profile_cs2 import Cs2Report as Cs2Report
    from csc._session import Session as Session
    from csc._sweep import Comparison as Comparison
    from csc._sweep import Sweep as Sweep
    from csc._sweep import compare as compare
    from csc._sweep import sweep as sweep
    from csc._verify import Verification as Verification
    from csc._verify import verify as verify
    from csc.blob import EntryInfo as EntryInfo
    from csc.blob import OpInfo as OpInfo
    from csc.blob import PlanInfo as PlanInfo
    from csc.blob import TensorInfo as TensorInfo
    from csc.chip import Chip as Chip
    from csc.device import Device as Device
    from csc.errors import ArenaError as ArenaError
    from csc.errors import BlobError as BlobError
    from csc.errors import ChipError as ChipError
    from csc.errors import CscError as CscError
    from csc.errors import DeviceError as DeviceError
    from csc.errors import FirmwareError as FirmwareError
    from csc.errors import InputError as InputError
    from csc.image import make_firmware as make_firmware
    from csc.model import Model as Model
    from csc.model import Result as Result
    from csc.model import infer as infer
    from csc.model import inspect as inspect
    from csc.model import load as load
    from csc.soc import Soc as Soc
    from csc.soc import StopReason as StopReason
    from csc_convert import ConvertError as ConvertError
    from csc_convert import convert as convert

__version__ = "0.1.0"

_HOMES = {
    "ArenaError": "csc.errors",
    "BlobError": "csc.errors",
    "Chip": "csc.chip",
    "ChipError": "csc.errors",
    "Comparison": "csc._sweep",
    "ConvertError": "csc_convert",
    "Cs2Report": "csc._profile_cs2",
    "CscError": "csc.errors",
    "Device": "csc.device",
    "DeviceError": "csc.errors",
    "EntryInfo": "csc.blob",
    "FirmwareError": "csc.errors",
    "InputError": "csc.errors",
    "Model": "csc.model",
    "OpInfo": "csc.blob",
    "OpReport": "csc._backend",
    "PlanInfo": "csc.blob",
    "Report": "csc._profile",
    "Result": "csc.model",
    "Session": "csc._session",
    "Soc": "csc.soc",
    "StopReason": "csc.soc",
    "Sweep": "csc._sweep",
    "TensorInfo": "csc.blob",
    "Verification": "csc._verify",
    "compare": "csc._sweep",
    "convert": "csc_convert",
    "generate": "csc._generate",
    "infer": "csc.model",
    "inspect": "csc.model",
    "load": "csc.model",
    "make_firmware": "csc.image",
    "profile": "csc._profile",
    "sweep": "csc._sweep",
    "verify": "csc._verify",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import csc` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'csc' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
