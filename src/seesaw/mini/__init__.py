"""The mini world: rendered scenes whose depth, segmentation and identities are known.

It stands in for ImageNet and the official detectors where there is no data, download or GPU.
"""
