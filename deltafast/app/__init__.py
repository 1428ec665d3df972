"""`deltafast app`: faces edited in the browser, on this machine alone.

What a visit is (its face, its edits, what is computed next, what is said about it) are plain classes that know no
Gradio; `page` lays them out, `serving` puts the page on a port.
"""

from deltafast.app.serving import AppOptions, serve

__all__ = ["AppOptions", "serve"]
