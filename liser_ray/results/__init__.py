"""Results of the cross-validation: records of runs, scores with intervals, tables and plots beside the paper's."""
