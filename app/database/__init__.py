"""The database: its tables, its engine and its migrations. The truth about every job."""
