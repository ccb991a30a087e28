"""One check for each exercise of the course: what was got, what was expected, and one hint.

Every `check_…` takes the learner's function or value and returns a `Result`, which shows itself in the notebook.
"""

from __future__ import annotations

from perfteach.course.checks.basics import (
    check_convolution_macs,
    check_hard_swish,
    check_separable_weights,
    check_squeeze_excite,
)
from perfteach.course.checks.core import Result
from perfteach.course.checks.extra_small import check_choose_layers, check_front, check_two_counts, check_widest
from perfteach.course.checks.fine_tuning import (
    check_paired_interval,
    check_rules_out,
    check_same_epochs,
    check_standard_error,
)
from perfteach.course.checks.neuron import check_ascent, check_correlation, check_neuron_error, check_sign_of_w
from perfteach.course.checks.own_model import check_perforate_convolutions, check_problems, check_rank
from perfteach.course.checks.phases import check_best_epochs, check_perforated_forward, check_plateau_ended
from perfteach.course.checks.shipping import check_fold, check_latency, check_quantize, check_same_answers
from perfteach.course.checks.start import check_dendrite_parameters, check_error_reduction, check_first_dendrite_epoch

__all__ = [
    "Result",
    "check_ascent",
    "check_best_epochs",
    "check_choose_layers",
    "check_convolution_macs",
    "check_correlation",
    "check_dendrite_parameters",
    "check_error_reduction",
    "check_first_dendrite_epoch",
    "check_fold",
    "check_front",
    "check_hard_swish",
    "check_latency",
    "check_neuron_error",
    "check_paired_interval",
    "check_perforate_convolutions",
    "check_perforated_forward",
    "check_plateau_ended",
    "check_problems",
    "check_quantize",
    "check_rank",
    "check_rules_out",
    "check_same_answers",
    "check_same_epochs",
    "check_separable_weights",
    "check_sign_of_w",
    "check_squeeze_excite",
    "check_standard_error",
    "check_two_counts",
    "check_widest",
]
