"""Models by threads by power modes on one board: what accuracy costs in speed and watts."""
