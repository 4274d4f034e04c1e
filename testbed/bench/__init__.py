"""What the benches share: epoch plan, strength by Webster's rule, scans, and the figures made of them."""
