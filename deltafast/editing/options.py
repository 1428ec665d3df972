"""How an edit is made: the one record of options behind `edit_batch`, `edit_stream` and the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from deltafast.arguments import check_count, check_device
from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import FaceChoice, check_choice
from deltafast.faces.pasting import PASTE_MASKS, PasteMask
from deltafast.generators.synthesis import NOISE_MODES
from deltafast.projection import Encoder
from deltafast.projection.likeness import Likeness, check_likeness, refinement_steps

__all__ = ["EditOptions", "Synthesise"]

Synthesise: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True)
class EditOptions:
    """The options of `edit_batch` and `edit_stream`, which also take them as keywords.

    - `batch_size`: at most this many images are synthesised at once; the working memory depends on it, not on N.
    - `layers`: W+ slots to which the edit is limited, beyond the editor's own choice: their numbers, or a mask of
      num_ws booleans.
    - `noise_mode`: "const", "random" or "none", as the synthesis takes it.
    - `raw`: the paper's w + D(w, α·Δ); the result then reports D(w, 0) in `offsets`.
    - `output`: "float" is fp32 in about [-1, 1], as synthesised; "uint8" is 0..255.
    - `synthesise`: False leaves the images out; a function (ws, noise_mode) -> images takes the place of
      `generator.synthesis`: `generator.compiled()`, say.
    - `output_device`: where the result goes; None is for `edit_batch` that of the latents given (the CPU for images),
      for `edit_stream` the generator's.
    - `align`: "auto" finds the face in every photo and cuts it out as FFHQ's are; only a square image whose face lies
      where alignment would put it (to 5 % of the side) is taken as it is. True aligns that one too. False takes all
      images as they are, which must then be aligned (square, face centred), and does without dlib.
    - `face`: which face of a photo: "largest"; its number, 0 being the largest; or "all", which gives one sample for
      each face (`EditResult.photo_index` says of which photo).
    - `likeness`: of photos, how like the person the unedited face is. "quick": the encoder's answer, a look-alike in a
      second. "refined": fifty steps from there bring the latent closer. "tuned": the refined latent, and the photo
      itself carried along the edit by a face mesh, so that freckles, teeth, glasses and background stay what they are
      (`deltafast.projection.carried` says how, and `EditResult.tuned` what came of it). "auto", of one photo: "tuned"
      if a face mesh is seen in it, else "quick". None is "refined" with `refine_steps`; without, a single photo's face
      is edited as with "auto" by `edit_batch`, `animate` and the command line, and all else is "quick": many photos,
      streams, `face="all"`.
    - `refine_steps`: steps of refinement after the encoder's answer, as in `deltafast project --steps`: closer to the
      photo, and slower by a forward and a backward pass of the generator for each. None is what the likeness says;
      "tuned" with 0 steps carries the photo on the encoder's answer.
    - `paste_back`: also return the whole photos, `EditResult.photos`, the edited faces put back in their places through
      a mask: "face", which leaves hair and background as they were; "head", with which hair, ears and glasses move and
      background and shoulders stay (MediaPipe's selfie segmentation network finds them, 18 MB fetched once); or "crop",
      for edits that move all of it. True is "face"; with `likeness="tuned"` "crop", for there only what the edit
      changes is added to the photo. Over `feather` of the crop's side the mask fades out, and along its rim colours
      are brought to the photo's; beyond it every pixel is the photo's own.

    - `encoder`: by which photos are projected, an `Encoder` or its file; None takes the bundled one, which is for
      mobilestylegan-ffhq. `deltafast train-encoder` makes one for another generator.
    - `same_w_space`: vouches that the editors' generator and this one share their W space although their files do not
      say so, as a fine-tuned generator does with the one that it came from.

    - `by`, `to`: instead of alpha, and in every form that alpha may have, how far in the attribute's own unit, which
      `deltafast editors` prints: by 15 degrees of yaw from where the face looks; to 0, the camera. Of light, whose unit
      is a ratio, `by` is a factor. Images are read (by MediaPipe's face mesh, as in training; of tuned faces those that
      carry the photo) and α is corrected, which takes some two to eight more images for each edit;
      `EditResult.reached` says what came of it, and an `UnreachedWarning` where the generator does not get there.
    - `order`: "together": flows (form="flow") that stand side by side among several editors, and have as many hidden
      layers, become one flow of the summed field, so that their order does not matter; "sequence": one after the other,
      each reading the latent that the one before left, as jumps always do.

    Raises `InvalidInputError` for what they cannot be.
    """

    batch_size: int = 8
    layers: Iterable[int] | None = None
    noise_mode: Literal["const", "random", "none"] = "const"
    raw: bool = False
    output: Literal["float", "uint8"] = "float"
    synthesise: bool | Synthesise = True
    output_device: torch.device | str | None = None
    align: bool | Literal["auto"] = "auto"
    face: FaceChoice = "largest"
    likeness: Likeness | None = None
    refine_steps: int | None = None
    paste_back: bool | PasteMask = False
    feather: float = 0.15
    encoder: Encoder | str | os.PathLike[str] | None = None
    same_w_space: bool = False
    by: Any = None
    to: Any = None
    order: Literal["together", "sequence"] = "together"

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size, 1)
        if self.by is not None and self.to is not None:
            raise InvalidInputError("give one of alpha, by and to; by and to are given")
        if self.raw and (self.by is not None or self.to is not None):
            raise InvalidInputError("a raw edit leaps at alpha 0: give it alpha, not by or to")
        if self.order not in ("together", "sequence"):
            raise InvalidInputError(f'order must be "together" or "sequence", got {self.order!r}')
        if self.noise_mode not in NOISE_MODES:
            raise InvalidInputError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {self.noise_mode!r}")
        if self.output not in ("float", "uint8"):
            raise InvalidInputError(f'output must be "float" or "uint8", got {self.output!r}')
        if not (isinstance(self.align, bool) or self.align == "auto"):
            raise InvalidInputError(f'align must be True, False or "auto", got {self.align!r}')
        check_choice(self.face)
        if self.refine_steps is not None:
            check_count("refine_steps", self.refine_steps, 0)
        check_likeness(self.likeness, self.refine_steps, auto=True)
        if not isinstance(self.feather, (int, float)) or not 0 <= self.feather <= 0.5:
            raise InvalidInputError(f"feather must be a share of the face's crop from 0 to 0.5, got {self.feather!r}")
        if not (isinstance(self.paste_back, bool) or self.paste_back in PASTE_MASKS):
            allowed = " or ".join(PASTE_MASKS)
            raise InvalidInputError(f"paste_back must be True, False, {allowed}, got {self.paste_back!r}")
        if not isinstance(self.encoder, (Encoder, str, os.PathLike, type(None))):
            raise InvalidInputError(f"encoder must be an Encoder or its file, got {type(self.encoder).__name__}")
        if self.paste_back and self.synthesise is False:
            raise InvalidInputError("paste_back needs the images: leave synthesise as it is")
        if isinstance(self.layers, Iterator):  # read once, asked for by every session of these options
            object.__setattr__(self, "layers", tuple(self.layers))
        device = None if self.output_device is None else check_device(self.output_device, "output_device")
        object.__setattr__(self, "output_device", device)

    @property
    def steps(self) -> int:
        """Steps of refinement, as asked for or as the likeness has them."""
        return refinement_steps(self.likeness, self.refine_steps)

    @property
    def paste_mask(self) -> PasteMask | None:
        """The mask through which faces are put back; None where they are not."""
        if self.paste_back is True:
            return "crop" if self.likeness in ("tuned", "auto") else "face"
        return self.paste_back or None

    def as_json(self) -> dict[str, Any]:
        """Return those options that decide the values of images and latents as JSON values."""
        given = {name: _plain(value) for name, value in (("by", self.by), ("to", self.to)) if value is not None}
        if self.order != "together":
            given["order"] = self.order
        if self.likeness in ("tuned", "auto"):  # of the others their steps say all
            given["likeness"] = self.likeness
        return {
            **given,
            "layers": None if self.layers is None else _plain(self.layers),
            "noise_mode": self.noise_mode,
            "raw": self.raw,
            "align": self.align,
            "faces": self.face,
            "refine_steps": self.steps,
            "paste_back": self.paste_mask or False,
            "feather": self.feather if self.paste_back else None,
        }


def _plain(value: Any) -> Any:
    """Numbers, tensors, arrays and sequences of them as JSON values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple, range, set, frozenset)) else value
