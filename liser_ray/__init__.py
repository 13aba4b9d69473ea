"""LiSER on Ray: unlabeled talking-head video into small speech-emotion models."""
