"""What to set on each board, as data: one TOML file a board (docs/firmware.md has the form)."""
