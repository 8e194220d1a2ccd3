"""From a prepared frame to its alpha: networks, modes, trimaps and plates."""
