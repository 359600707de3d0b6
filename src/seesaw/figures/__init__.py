"""Figures: each a function of data that returns a matplotlib Figure and the points it shows.

No function touches pyplot or its global state. Style, sizes and saving: :mod:`.style`.
"""
