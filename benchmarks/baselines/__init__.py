"""What deltafast is measured against, written anew in plain torch."""
