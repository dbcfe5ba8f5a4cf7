"""How pictures and Parquet tables are read: once, for the inspector and for the engine alike.

`pictures` and `parquet_table` load native code that reads what strangers sent. Only the two that
run in a box may import them; the API process imports neither.
"""
