"""Kinds of files a job can be asked for."""

from typing import Literal

OutputKind = Literal["keras", "tflite", "saved_model"]
