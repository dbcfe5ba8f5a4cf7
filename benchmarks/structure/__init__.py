"""The structural techniques on real nets: what `make figures-structure` measures."""
