"""Analysis: reads records, never physics."""
