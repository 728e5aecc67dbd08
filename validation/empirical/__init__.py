"""The empirical study: clean the observations, explain the spread, and hold the model's quotes against those seen."""

from .cleaning import RULES, Cleaned, CleaningRules, Removal, clean
from .comparison import QuoteComparison, compare_quotes
from .errors import HAC, HC3, Clustered, Cosines
from .intervals import form_intervals, observe_seconds
from .model import dealers_in, dealers_like, predict_intervals, predict_quotes
from .panel import Panel, read_panel
from .quotes import with_quotes
from .regression import Coefficient, Regression, regress
from .report import write_study_report
from .study import Study, study_messages, study_panel, study_synthetic
from .synthetic_panel import Audit, SyntheticPanel, audit, expected_signs, tianjin_dealer, tianjin_panel

__all__ = [
    "HAC",
    "HC3",
    "RULES",
    "Audit",
    "Cleaned",
    "CleaningRules",
    "Clustered",
    "Coefficient",
    "Cosines",
    "Panel",
    "QuoteComparison",
    "Regression",
    "Removal",
    "Study",
    "SyntheticPanel",
    "audit",
    "clean",
    "compare_quotes",
    "dealers_in",
    "dealers_like",
    "expected_signs",
    "form_intervals",
    "observe_seconds",
    "predict_intervals",
    "predict_quotes",
    "read_panel",
    "regress",
    "study_messages",
    "study_panel",
    "study_synthetic",
    "tianjin_dealer",
    "tianjin_panel",
    "with_quotes",
    "write_study_report",
]
