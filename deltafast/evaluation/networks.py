"""Which published network is used where: so that a reader sees that none judges what it trained or steered."""

from __future__ import annotations

__all__ = ["network_roles"]

_ROLES = (
    ("dlib's 68 landmarks", "judge: every measure but light's brightness, and where light is read", "aligning photos"),
    ("dlib's face descriptor", "judge: identity", "-"),
    ("MediaPipe's face mesh", "-", 'losses of loss="precise"; refinement of photos'),
    ("SFace", "-", 'losses of loss="precise"; refinement of photos'),
    ("MobileNetV2", "-", "the encoder's backbone; refinement of photos"),
)


def network_roles(features: str) -> list[dict[str, str]]:
    """Return each network, what it judges, and what it trains or steers, `features` being that of realism, as JSON."""
    rows = [dict(zip(("network", "judges", "trains or steers"), row, strict=True)) for row in _ROLES]
    known = next((row for row in rows if row["network"] in features), None)
    if known is not None:
        known["judges"] = "judge: realism (the Fréchet distance), though it steers"
    else:
        rows.insert(
            2, {"network": features, "judges": "judge: realism (the Fréchet distance)", "trains or steers": "-"}
        )
    return rows
