"""What people read of finished results: a page for an auditor, tables, the highest scores, and what two runs differ in."""
