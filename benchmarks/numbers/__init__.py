"""Figures of numbers: quantization, clustering, coding. Each script prints its table."""
