"""What people read of finished results: a page for an auditor, tables, the highest scores, what two runs differ in."""
