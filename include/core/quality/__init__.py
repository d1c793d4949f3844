"""How good predictions are: metrics with intervals, promotion, and estimates before ground truth arrives."""
