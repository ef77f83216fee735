"""Prints the scalars of an event folder as TensorBoard sees them: "tag step value" a line."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
accumulator.Reload()
for tag in sorted(accumulator.Tags()["scalars"]):
    for event in accumulator.Scalars(tag):
        assert event.wall_time > 1.6e9, event
        print(tag, event.step, event.value)
