"""One person's visit: the face, its edits, undo, and what is said about them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deltafast.app.dials import Dial
from deltafast.app.history import History
from deltafast.app.latent_file import latent_bytes, read_latents
from deltafast.app.looks import Look
from deltafast.app.moving import moving_bytes
from deltafast.app.pictures import png
from deltafast.app.refinement import Reconstruction, Refinement, reconstruct_quickly
from deltafast.app.studio import Edited, Studio
from deltafast.app.turns import URGENT, Newest, SupersededError, Ticket
from deltafast.app.uploads import uploaded
from deltafast.app.whole_photo import SHOWN, WholePhoto, reduced
from deltafast.app.words import fit_words, identity_words, reached_words
from deltafast.editing.provenance import Provenance
from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.faces.photos import Photo
from deltafast.generators.seeds import latents_from_seeds

__all__ = ["MAX_OWN", "Face", "Visit"]

Pixels = NDArray[np.uint8]
Amounts = Mapping[str, float]

MAX_OWN = 4
"""Editors of one's own that a visit may bring."""

_NOTHING: Pixels = np.zeros((0, 0, 3), np.uint8)  # in the place of a picture that was given up
_PSI = 0.7  # truncation of sampled faces
_PAUSE = 0.15  # seconds without a further move, after which the full picture is made
_CALM = 0.35  # seconds without a further move, after which an edit is made exact


@dataclass(frozen=True, eq=False)
class Face:
    """What is edited: latents `[1, num_ws, w_dim]`, how they are shown, their picture uint8 `[H, W, 3]`, its readings.

    `photo` and `fit` are of one that came as a photo; `number` says which of the photo's faces it is, 0 the largest.
    """

    name: str
    ws: Tensor
    look: Look
    pixels: Pixels
    readings: Mapping[str, float]
    photo: Photo | None = None
    whole: WholePhoto | None = None
    fit: Reconstruction | None = None
    number: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps."""
        photo = [] if self.photo is None else [self.photo.pixels, *(one.pixels for one in self.photo.faces)]
        carried = [] if self.fit is None or self.fit.carried is None else [self.fit.carried.photo]
        return self.look.nbytes + sum(one.nbytes for one in (self.pixels, *photo, *carried) if one is not None)


class Visit:
    """The state of one visit and what can be done in it; every method may be called from any thread.

    Methods that compute wait for their turn. What is not the newest request any more raises `SupersededError`.
    """

    def __init__(self, studio: Studio, calm: float = _CALM) -> None:
        self._studio = studio
        self._calm = calm
        self._newest = Newest()
        self._gains: dict[str, float] = {}  # α of this face for each α that was guessed
        self._refinement: Refinement | None = None
        self._settled: Ticket | None = None  # of the edit that was made exact last
        self._news = False
        self._notes: list[str] = []
        self.own: dict[str, Dial] = {}
        self.face: Face | None = None
        self.amounts: dict[str, float] = {}  # changes, by dial; those that are none are left out
        self.history: History[dict[str, float]] = History({})
        self.edited: Edited | None = None
        self.last_seen = time.monotonic()
        self.key = secrets.token_urlsafe(24)
        """What the visit's own page calls it by; nobody else is told."""

    # ---- the face ----------------------------------------------------------------------------------------------------

    @property
    def dials(self) -> dict[str, Dial]:
        """All dials, those of one's own editors last."""
        return {**self._studio.dials, **self.own}

    @property
    def refinement(self) -> Refinement | None:
        """What goes on in the background for the photo at hand, or went on."""
        return self._refinement

    @property
    def has_news(self) -> bool:
        """Whether a better reconstruction has come in since `take_news` was called last."""
        return self._news

    def take_news(self) -> bool:
        """Return `has_news`, and that it is known now."""
        news, self._news = self._news, False
        return news

    def take_notes(self) -> list[str]:
        """Return what has happened to the visit without its doing and was not told yet."""
        notes, self._notes = self._notes, []
        return notes

    def sample(self, seed: int) -> None:
        """Take the face of a seed, 0 to 2^32 - 1. Raises `InvalidInputError` for another number."""
        with self._studio.turns.turn():
            classes = 0 if self._studio.generator.c_dim else None
            ws = latents_from_seeds(self._studio.generator, [seed], _PSI, class_index=classes)
            face = self._face(f"face-{seed}", ws, self._studio.look(ws))
        self._take(face)

    def bring_photo(self, path: str) -> None:
        """Take the largest face of an uploaded photo, as the encoder sees it; refinement goes on in the background.

        The file is removed. Raises `DeltafastError` that says what is wrong with it.
        """
        with uploaded(path) as file:
            photo = self._studio.read_photo(file, "the photo")
        self._take_from(photo, 0)

    def choose_face(self, number: int) -> None:
        """Take another face of the photo at hand, 0 being the largest; `InvalidInputError` where there is none."""
        photo = self._given_face().photo
        if photo is None or not 0 <= number < len(photo.faces):
            raise InvalidInputError(f"the photo at hand has no face number {number + 1}")
        self._take_from(photo, number)

    def _take_from(self, photo: Photo, number: int) -> None:
        chosen = photo.faces[number]
        with self._studio.turns.turn():
            target = self._studio.projector.target(chosen.image)
            fit = reconstruct_quickly(self._studio, target)
            face = self._face("photo", fit.ws, fit.look)
        assert photo.pixels is not None
        face = replace(face, photo=photo, whole=WholePhoto(photo.pixels, chosen.alignment), fit=fit, number=number)
        self._take(face)
        refinement = Refinement(self._studio, target, chosen.pixels, fit, self._swap_in)
        self._refinement = refinement
        refinement.start()

    def bring_latents(self, path: str) -> None:
        """Take the face of an uploaded file of latents, with the edits of one that was downloaded here.

        The file is removed. Raises `InvalidInputError` for what is no file of latents for this generator.
        """
        with uploaded(path) as file:
            ws, amounts = read_latents(file, self._studio.generator)
        with self._studio.turns.turn():
            face = self._face(Path(path).stem[:60] or "latents", ws, self._studio.look(ws))
        self._take(face)
        known = self.dials
        wanted = {key: by for key, by in amounts.items() if key in known and known[key].low <= by <= known[key].high}
        self.move(wanted)
        self.history.put(dict(self.amounts))

    def bring_editor(self, path: str) -> Dial:
        """Add an uploaded editor or direction as one more dial, and return it; the file is removed.

        Raises `EditorError` for what is none or does not fit, `DeltafastError` where there are four already.
        """
        with uploaded(path) as file:
            if len(self.own) >= MAX_OWN:
                raise DeltafastError(f"a visit may bring {MAX_OWN} editors; reload the page to begin anew")
            with self._studio.turns.turn():
                dial = self._studio.dial(file, self.dials, None if self.face is None else self.face.ws)
        self.own = {**self.own, dial.key: dial}
        return dial

    # ---- edits -------------------------------------------------------------------------------------------------------

    def move(self, amounts: Amounts) -> Edited:
        """Edit by amounts (changes, by dial) at once: by the α that each is likely to be.

        Raises `InvalidInputError` without a face.
        """
        ticket = self._newest.take()
        face, dials = self._given_face(), self.dials
        kept = {key: by for key, by in amounts.items() if key in dials and not dials[key].is_neutral(by)}
        self.amounts = kept
        alphas = {key: dials[key].guess(by) * self._gains.get(key, 1.0) for key, by in kept.items()}
        with self._studio.turns.turn():
            ticket.check()
            edited = self._studio.quick(face.ws, face.look, dials, alphas)
        ticket.check()
        self.edited = edited
        return edited

    def stand_at(self, amounts: Amounts) -> None:
        """Say where the sliders rest: where the last move did not come through, it is made."""
        dials = self.dials
        if {key: by for key, by in amounts.items() if key in dials and not dials[key].is_neutral(by)} != self.amounts:
            self.move(amounts)

    def finish(self) -> bool:
        """Once no further move comes, make the full picture of an edit of which there is an estimate.

        Returns whether there was one. Raises `SupersededError` as soon as there is a further move.
        """
        ticket = self._newest.last()
        if self.edited is None or not self.edited.is_preview:
            return False
        ticket.rest(_PAUSE)
        self._finished(ticket)
        return True

    def settle(self) -> tuple[Edited, list[str]]:
        """Once no further move comes, make the edit exact, and say what came of it.

        Raises `SupersededError` as soon as there is a further move, and where the edit is exact already.
        """
        ticket = self._newest.last()
        if ticket is self._settled:
            raise SupersededError
        ticket.rest(self._calm)
        face, amounts, dials = self._given_face(), dict(self.amounts), self.dials
        with self._studio.turns.turn():
            ticket.check()
            edited = self._exact(face, amounts, ticket)
            said = self._said(face, edited)
            self._studio.tidy()
        ticket.check()
        self.edited, self._settled = edited, ticket
        self.history.put(amounts)
        for key, by in amounts.items():
            guess = dials[key].guess(by)
            if key in edited.reached and abs(guess) > 1e-3:
                self._gains[key] = min(4.0, max(0.25, edited.alphas[key] / guess))
        return edited, said

    def undo(self) -> Edited:
        """Go back to the edits before the last ones."""
        before = self.history.undo() if self.amounts == self.history.present else self.history.present
        return self.move(before)

    def readings(self, key: str) -> float:
        """What the unedited face shows of a dial's attribute, NaN where nothing reads it."""
        dial = self.dials.get(key)
        if self.face is None or dial is None or dial.unit is None:
            return float("nan")
        return self.face.readings.get(dial.editor.attribute, float("nan"))

    # ---- results -----------------------------------------------------------------------------------------------------

    def pictures(self, whole: bool, *, shown: bool = True) -> tuple[Pixels, Pixels]:
        """Return the picture before and after the edits: of the face, or of the whole photo, the face in its place.

        Whole photos come as large as they are `shown`, or, without it, as large as they are.
        """
        face, edited = self._given_face(), self._given_edit()
        if not whole or face.whole is None:
            return face.pixels, edited.pixels
        photo = face.whole.shown if shown else face.whole
        unedited = None if face.fit is None or face.fit.carried is None else face.pixels
        return photo.pixels, photo.with_face(edited.pixels, unedited)

    def picture_file(self, whole: bool) -> bytes:
        """Return the picture after the edits as a PNG that says what was done to it; see `pictures`."""
        self._finished(self._newest.last())
        _, after = self.pictures(whole, shown=False)
        face = self._given_face()
        photo = face.photo if whole else None
        return png(after, self._provenance(whole).as_png_texts(), None if photo is None else photo.profile)

    def moving_picture(self, kind: str) -> bytes:
        """Return the edit as a moving picture, from the unedited face there and back: `kind` is gif, webp or mp4.

        Raises `InvalidInputError` where nothing is edited, `DeltafastError` where `kind` cannot be written.
        """
        face, edited, dials = self._given_face(), self._given_edit(), self.dials
        alphas = {key: alpha for key, alpha in edited.alphas.items() if alpha != 0}
        if not alphas:
            raise InvalidInputError("nothing is edited yet: move a slider, then save how the face gets there")
        editors = [dials[key].editor for key in alphas]

        def synthesis(codes: Tensor, **_: object) -> Tensor:
            self._studio.turns.give_way(URGENT)  # nobody waits for all frames of another's picture
            return face.look.full(codes)

        with self._studio.turns.turn():
            return moving_bytes(kind, self._studio.generator, editors, list(alphas.values()), face.ws, synthesis)

    def _provenance(self, whole: bool) -> Provenance:
        face = self._given_face()
        edits = [
            {"attribute": self.dials[key].editor.attribute, "alpha" if self.dials[key].unit is None else "by": amount}
            for key, amount in self.amounts.items()
        ]
        is_composite = (whole and face.photo is not None) or (face.fit is not None and face.fit.carried is not None)
        return Provenance.of(self._studio.generator, edits, composite=is_composite)

    def latents(self) -> bytes:
        """Return a safetensors file of the edited latents, from which `bring_latents` goes on."""
        face, edited = self._given_face(), self._given_edit()
        return latent_bytes(edited.ws, face.ws, self.amounts, edited.alphas)

    def fit_words(self) -> list[str]:
        """Say how well the photo at hand is reconstructed; empty for other faces."""
        fit = None if self.face is None else self.face.fit
        return [] if fit is None else fit_words(fit.report, fit.level.name)

    def close(self) -> None:
        """End what goes on in the background, and forget everything."""
        self._newest.take()
        if self._refinement is not None:
            self._refinement.stop()
            self._refinement = None
        self.face = self.edited = None
        self.own, self.amounts = {}, {}
        self.history.restart({})

    # ---- memory ------------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of pictures, and of what makes them, that the visit keeps."""
        face, edited = self.face, self.edited
        return (0 if face is None else face.nbytes) + (0 if edited is None else edited.pixels.nbytes)

    def doze(self) -> None:
        """Give up what can be made again, the pictures of the face and its edit: the next call makes them again.

        Nothing is given up while a photo is being refined.
        """
        face, edited, refinement = self.face, self.edited, self._refinement
        if face is None or edited is None or (refinement is not None and refinement.state == "running"):
            return
        look = Look(self._studio.generator.synthesis)
        fit = None if face.fit is None else replace(face.fit, look=look)
        self.face, self.edited = replace(face, look=look, pixels=_NOTHING, fit=fit), replace(edited, pixels=_NOTHING)

    def reduce_photo(self) -> None:
        """Keep no more of a photo than is shown of it; the person is told with the next call."""
        face = self.face
        if face is None or face.photo is None or face.photo.pixels is None or max(face.photo.pixels.shape) <= SHOWN:
            return
        photo = reduced(face.photo)
        assert photo.pixels is not None
        whole = WholePhoto(photo.pixels, photo.faces[face.number].alignment)
        self.face = replace(face, photo=photo, whole=whole)
        self._notes.append(
            f"Many people are here: of your photo {SHOWN} pixels a side are kept now. Bring it again to save it whole."
        )

    def _wake(self) -> None:
        """Make again what `doze` has given up."""
        face, edited = self.face, self.edited
        if face is None or edited is None or face.pixels.size:
            return
        with self._studio.turns.turn():
            look = self._studio.look(face.ws, None if face.fit is None else face.fit.carried)
            pixels = self._studio.picture(face.ws, look)
            if not edited.pixels.size:
                again = pixels if edited.ws is face.ws else self._studio.picture(edited.ws, look)
                edited = replace(edited, pixels=again, is_preview=False)
        if self.face is face:  # none has come meanwhile
            fit = None if face.fit is None else replace(face.fit, look=look)
            self.face, self.edited = replace(face, look=look, pixels=pixels, fit=fit), edited

    # ---- parts of these ----------------------------------------------------------------------------------------------

    def _face(self, name: str, ws: Tensor, look: Look) -> Face:
        pixels = self._studio.picture(ws, look)
        readings = self._studio.readings(ws, pixels)
        self._studio.tidy()
        return Face(name, ws, look, pixels, readings)

    def _finished(self, ticket: Ticket) -> Edited:
        """The edit with its full picture. Raises `SupersededError` where `ticket` is stale."""
        face, edited = self._given_face(), self._given_edit()
        if not edited.is_preview:
            return edited
        with self._studio.turns.turn():
            ticket.check()
            full = replace(edited, pixels=self._studio.picture(edited.ws, face.look), is_preview=False)
        ticket.check()
        self.edited = full
        return full

    def _take(self, face: Face) -> None:
        self._newest.take()
        if self._refinement is not None:
            self._refinement.stop()
            self._refinement = None
        self._gains, self._news = {}, False
        self.face, self.amounts = face, {}
        self.edited = Edited(face.ws, face.pixels, {}, {})
        self.history.restart({})

    def _swap_in(self, better: Reconstruction) -> None:
        """Put a better reconstruction in the place of the face's, its edits kept."""
        face = self.face
        if face is None or face.photo is None or (face.fit is not None and not better.better_than(face.fit)):
            return
        with self._studio.turns.turn():
            made = self._face(face.name, better.ws, better.look)
        if self.face is not face:  # another one has come meanwhile
            return
        self._newest.take()
        self.face = replace(made, photo=face.photo, whole=face.whole, fit=better, number=face.number)
        self._news = True
        self.edited = Edited(made.ws, made.pixels, {}, {})

    def _exact(self, face: Face, amounts: dict[str, float], ticket: Ticket) -> Edited:
        dials = self.dials
        readable = all(
            face.readings.get(dials[key].editor.attribute, float("nan")) > float("-inf")
            for key in amounts
            if dials[key].unit is not None
        )
        if readable:
            return self._studio.exact(face.ws, face.look, dials, amounts, ticket)
        alphas = {key: dials[key].guess(by) for key, by in amounts.items()}
        return self._studio.quick(face.ws, Look(face.look.full), dials, alphas)

    def _said(self, face: Face, edited: Edited) -> list[str]:
        lines = []
        for key in self.amounts:
            dial = self.dials[key]
            if key in edited.reached:
                one = edited.reached[key]
                values = (float(one.before[0]), float(one.wanted[0]), float(one.after[0]))
                values = (self.readings(key), *values[1:])
                lines.append(reached_words(dial.label, dial.unit_name, *values, bool(one.there[0])))
            elif dial.unit is not None:
                lines.append(f"{dial.label}: no face is seen to read it off; moved as other faces were.")
        if edited.alphas and self._studio.measures:
            lines.append(identity_words(self._studio.same_person(face.pixels, edited.pixels)))
        return lines

    def _given_face(self) -> Face:
        self._wake()
        if self.face is None:
            raise InvalidInputError("there is no face yet: sample one or bring a photo")
        return self.face

    def _given_edit(self) -> Edited:
        self._given_face()
        assert self.edited is not None
        return self.edited
