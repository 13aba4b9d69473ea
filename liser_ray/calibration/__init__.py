"""How fast the stages are on a node, and which pools of workers follow from it for a cluster."""
