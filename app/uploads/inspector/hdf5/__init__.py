"""HDF5 files: plain arrays reached by hard links, and nothing else."""
