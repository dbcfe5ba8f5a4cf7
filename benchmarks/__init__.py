"""What README claims, measured: each module is a script that prints its table."""
