"""Settings of boards: read from `firmware_configs/`, compared, put in force, put back."""
