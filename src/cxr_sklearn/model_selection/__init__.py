"""Splits that keep patients together and sources apart, and a check of such splits."""

from ._check_split import SplitReport, check_split
from ._leave_one_source_out import LeaveOneSourceOut

__all__ = ["LeaveOneSourceOut", "SplitReport", "check_split"]
