"""Files that nobody vouches for: what every reader of them checks, one format a file.

Sizes are compared with what the file holds before anything is allocated, nesting is bounded, numbers are finite, names
are printable, and nothing is imported, looked up or executed. The readers here raise whatever they like; the one place
that turns it into an error of deltafast is `reading`, with which each public reader surrounds its work.
"""
