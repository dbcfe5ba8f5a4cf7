"""Jobs: what was asked, where it stands, how it ended."""
