"""What a study leaves behind for a reader: one page, tables and figures."""
