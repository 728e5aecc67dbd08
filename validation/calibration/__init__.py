"""Calibration from market messages: how the mid moves and how often a quote at a distance is filled."""

from ._fills import FillCurve, Reach, Virtual
from ._inference import Estimate, FitTest
from ._likelihood import IntensityFit
from ._record import Calibration, calibrate

__all__ = ["Calibration", "Estimate", "FillCurve", "FitTest", "IntensityFit", "Reach", "Virtual", "calibrate"]
