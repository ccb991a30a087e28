"""Checks of notebook 00: reading a run's record, counting dendrites, and what an error reduction is."""

from __future__ import annotations

from typing import Any

from perfteach import metrics
from perfteach.counting import count_parameters
from perfteach.course.checks.core import call, exercise, require_close, require_equal, require_type
from perfteach.data.points import small_network
from perfteach.dendrites import add_dendrites
from perfteach.runs import Epoch, Run
from perfteach.selection import perforate


@exercise("Read the record")
def check_first_dendrite_epoch(answer: Any) -> str:
    """The learner's function takes a `Run` and returns the number of the first epoch of a dendrite phase."""
    for neuron, dendrite in ((4, 2), (1, 1), (7, 3)):
        phases = ["neuron"] * neuron + ["dendrite"] * dendrite + ["neuron"] * 2
        numbered = enumerate(phases, start=1)
        run = Run(epochs=[Epoch(n, phase, int(n > neuron)) for n, phase in numbered])
        hint = "look for the first entry of run.epochs whose ['phase'] is 'dendrite'."
        epoch = call(answer, run, hint=hint)
        require_type(epoch, int, hint="return the entry's 'epoch', which is a whole number.")
        hint = f"the run has {neuron} neuron epochs, then {dendrite} dendrite epochs, and the first epoch is number 1."
        require_equal(epoch, neuron + 1, hint)
    return "right on three records. Epochs are numbered from 1, so the entry's own number is safer than its place."


@exercise("Count the dendrites' parameters")
def check_dendrite_parameters(answer: Any) -> str:
    """The learner's function takes (inputs, neurons) and returns the parameters of one dendrite per neuron."""
    hints = {
        "weights": "a dendrite has one weight for each input, and each neuron has its own dendrite.",
        "bias": "a dendrite is a small neuron: it has a bias, too.",
        "w": "do not forget the w of each neuron, which says how much its dendrite counts.",
    }
    for inputs, neurons in ((2, 5), (5, 2), (7, 3)):
        count = call(answer, inputs, neurons)
        require_type(count, int, hint="use whole numbers only; // divides without a remainder.")
        product = inputs * neurons
        hint = hints["bias" if count == product else "w" if count == product + neurons else "weights"]
        require_equal(count, product + 2 * neurons, f"for {inputs} inputs and {neurons} neurons: {hint}")
    model = add_dendrites(perforate(small_network(5)))
    counted = count_parameters(model).dendrites
    require_equal(call(answer, 2, 5) + call(answer, 5, 2), counted, "both layers of the network together.")
    return f"count_parameters finds the same {counted} in both layers of the network of five neurons."


@exercise("Error reduction")
def check_error_reduction(answer: Any) -> str:
    """The learner's function takes (control accuracy, accuracy) in percent; returns percent of the control's error."""
    for control, accuracy in ((80.0, 82.0), (50.0, 75.0), (90.0, 89.0)):
        reduction = call(answer, control, accuracy)
        require_type(reduction, float, hint="return a number, in percent.")
        hint = f"at {control:g} % accuracy the control's error is {100 - control:g} %; which part of that has gone?"
        require_close(reduction, metrics.error_reduction(control, accuracy), hint)
    return "80 % to 82 % is two points more accuracy, and a tenth of the error gone."
