"""What there is to label (recordings, their plan) and to train on: labeled sets and their folds.

How a corpus is added stands in `liser_ray.corpora.labeled`.
"""
