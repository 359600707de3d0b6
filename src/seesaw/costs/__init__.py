"""What a job of the plan costs: GPU-hours and bytes kept, from shapes, sizes and image counts.

These are estimates. Operations are counted from the architectures (two per multiply-add) and
divided by the sustained rates of :data:`seesaw.costs.assumptions.ASSUMPTIONS`, the one place where
a rate stands. A rule without an entry in :data:`seesaw.costs.rules.COSTS` is "not estimated", and
so is a job whose sizes are not known. Torch-free.
"""
