"""What runs inside the box: no database, no broker, no network; files in, files and events out."""
