"""What was done to a picture, as its file says it: the edits, and that a network made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from deltafast import __version__
from deltafast.generators.base import Generator

__all__ = ["Provenance"]

# IPTC's words for where a picture comes from: https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_MADE, _COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Provenance:
    """What was done to one picture: `edits`, such as `{"attribute": "yaw", "by": 15.0}`, by `generator`.

    `composite`: it is a photo of which a part is made by a network, not a picture that is made whole. Nothing about the
    photo itself is said: not its name, and no latent.
    """

    edits: Sequence[dict[str, Any]]
    generator: str
    composite: bool = False

    @classmethod
    def of(cls, generator: Generator, edits: Sequence[dict[str, Any]], *, composite: bool = False) -> Provenance:
        """Return it for a generator, which is named with the beginning of its fingerprint."""
        return cls(list(edits), f"{generator.name} {generator.fingerprint[:12]}", composite)

    def as_text(self) -> str:
        """Return it as JSON on one line."""
        values = {"software": f"deltafast {__version__}", "generator": self.generator, "edits": list(self.edits)}
        return json.dumps(values, sort_keys=True)

    def as_xmp(self) -> str:
        """Return it as an XMP packet, with IPTC's DigitalSourceType, which picture libraries and platforms read."""
        kind = _SOURCE_TYPES + (_COMPOSITE if self.composite else _MADE)
        return (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
            f'Iptc4xmpExt:DigitalSourceType={quoteattr(kind)} xmp:CreatorTool="deltafast {__version__}"/>'
            "</rdf:RDF></x:xmpmeta>"
        )

    def as_png_texts(self) -> dict[str, str]:
        """Return the texts of a PNG, by their keywords: `Software`, `deltafast` (the JSON) and the XMP packet."""
        return {
            "Software": f"deltafast {__version__}",
            "deltafast": self.as_text(),
            "XML:com.adobe.xmp": self.as_xmp(),
        }
