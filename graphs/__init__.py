"""What is assembled from nodes: the control object, bound graphs, the control subgraph, runs."""
