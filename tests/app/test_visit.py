"""A visit: its face, its edits, undo, files that come back; visits do not see each other."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_studio import small_studio

from deltafast.app.studio import Studio
from deltafast.app.turns import SupersededError
from deltafast.app.visit import MAX_OWN, Visit
from deltafast.app.visits import Visits
from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.photos import Photo, PhotoFace


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """The tiny studio; whether a face is seen in its noise is nobody's question."""
    return small_studio(tmp_path_factory.mktemp("editors"))


@pytest.fixture
def visit(studio: Studio) -> Visit:
    """A visit with the face of seed 3."""
    made = Visit(studio, calm=0.0)
    made.sample(3)
    return made


def test_nothing_can_be_edited_before_there_is_a_face(studio: Studio) -> None:
    with pytest.raises(InvalidInputError, match="no face yet"):
        Visit(studio).move({"yaw": 5.0})


def test_an_edit_moves_the_latents_by_the_alpha_of_the_amount(visit: Visit, studio: Studio) -> None:
    edited = visit.move({"yaw": 15.0, "smile": -10.0})
    assert edited.alphas == pytest.approx({"yaw": 0.5, "smile": -0.5})
    assert visit.face is not None
    by_hand = studio.dials["smile"].editor.edit(studio.dials["yaw"].editor.edit(visit.face.ws, 0.5), -0.5)
    torch.testing.assert_close(edited.ws, by_hand)
    assert not np.array_equal(edited.pixels, visit.face.pixels)
    assert np.array_equal(visit.move({}).pixels, visit.face.pixels)


def test_a_saved_picture_says_what_was_done_to_it(visit: Visit, studio: Studio) -> None:
    shown = visit.move({"yaw": 15.0}).pixels
    with Image.open(io.BytesIO(visit.picture_file(False))) as picture:
        assert np.array_equal(np.asarray(picture), shown)
        said = json.loads(picture.text["deltafast"])  # type: ignore[attr-defined]
    word = "alpha" if studio.dials["yaw"].unit is None else "by"
    assert said["edits"] == [{"attribute": "yaw", word: 15.0}]


def test_undo_goes_through_what_was_settled_and_back_to_the_unedited_face(visit: Visit) -> None:
    for amount in (5.0, 20.0):
        visit.move({"yaw": amount})
        visit.settle()
    visit.move({"yaw": 29.0})  # not settled: the slider still moves
    assert [dict(visit.amounts) for _ in range(3) if visit.undo()] == [{"yaw": 20.0}, {"yaw": 5.0}, {}]


def test_an_edit_is_made_exact_once_and_not_where_a_newer_move_has_come(visit: Visit) -> None:
    visit.move({"yaw": 5.0})
    visit.settle()
    with pytest.raises(SupersededError):
        visit.settle()
    slow = Visit(visit._studio, calm=30.0)
    slow.sample(1)
    slow.move({"yaw": 5.0})
    outcome: list[str] = []

    def settle() -> None:
        try:
            slow.settle()
        except SupersededError:
            outcome.append("superseded")

    thread = threading.Thread(target=settle)
    thread.start()
    slow.move({"yaw": 6.0})
    thread.join(10)
    assert outcome == ["superseded"]


def test_moves_that_waited_while_newer_ones_came_are_not_computed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = Visit(studio)
    visit.sample(2)
    made: list[dict[str, float]] = []
    quick = studio.quick

    def counted(ws: object, look: object, dials: object, alphas: dict[str, float]) -> object:
        made.append(dict(alphas))
        return quick(ws, look, dials, alphas)  # type: ignore[arg-type]

    monkeypatch.setattr(studio, "quick", counted)
    stale: list[int] = []

    def move(amount: float) -> None:
        try:
            visit.move({"yaw": amount})
        except SupersededError:
            stale.append(1)

    with studio.turns.turn():
        threads = []
        for k in range(10):
            threads.append(threading.Thread(target=move, args=(k + 1.0,)))
            threads[-1].start()
            while studio.turns.waiting() < k + 1:
                threading.Event().wait(0.005)
    for thread in threads:
        thread.join(10)
    assert len(stale) == 9
    assert made == [{"yaw": pytest.approx(10 / 30)}]


def test_latents_that_were_saved_come_back_with_face_edits_and_picture(visit: Visit, tmp_path: Path) -> None:
    edited = visit.move({"yaw": 12.5})
    file = tmp_path / "mine.safetensors"
    file.write_bytes(visit.latents())
    back = Visit(visit._studio)
    back.bring_latents(str(file))
    assert back.edited is not None
    assert visit.face is not None
    assert back.face is not None
    assert dict(back.amounts) == {"yaw": 12.5}
    assert torch.equal(back.face.ws, visit.face.ws)
    assert np.array_equal(back.edited.pixels, edited.pixels)
    assert not file.exists()


def test_latents_of_another_generator_and_other_files_are_refused_and_removed(visit: Visit, tmp_path: Path) -> None:
    wrong, text = tmp_path / "wrong.safetensors", tmp_path / "notes.txt"
    save_file({"ws": torch.zeros(1, 3, 7)}, wrong)
    text.write_text("x")
    for file, words in ((wrong, "takes \\[N"), (text, "files of")):
        with pytest.raises(InvalidInputError, match=words):
            visit.bring_latents(str(file))
        assert not file.exists()
    assert visit.face is not None
    assert visit.face.name == "face-3"


def test_an_own_direction_becomes_a_dial_of_alpha_and_moves_the_face(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "beard.npy"
    direction = np.ones(visit._studio.generator.w_dim, np.float32)
    np.save(file, direction)
    dial = visit.bring_editor(str(file))
    assert (dial.key, dial.unit_name) == ("beard", "α")
    edited = visit.move({"beard": 2.0})
    assert visit.face is not None
    torch.testing.assert_close(edited.ws, visit.face.ws + 2)
    assert "beard" not in Visit(visit._studio).dials


def test_own_editors_are_counted(visit: Visit, tmp_path: Path) -> None:
    for number in range(MAX_OWN + 1):
        file = tmp_path / f"own{number}.npy"
        np.save(file, np.ones(visit._studio.generator.w_dim, np.float32))
        if number < MAX_OWN:
            visit.bring_editor(str(file))
    with pytest.raises(DeltafastError, match="may bring"):
        visit.bring_editor(str(file))
    assert not file.exists()


def test_visits_are_apart_and_end_when_idle_or_too_many(studio: Studio) -> None:
    now = SimpleNamespace(seconds=0.0)
    visits = Visits(studio, most=2, idle=10, clock=lambda: now.seconds)
    first = visits.of("a")
    first.sample(1)
    assert visits.of("b").face is None
    assert visits.of("a") is first
    now.seconds = 5
    visits.of("b")
    visits.of("c")
    assert first.face is None
    now.seconds = 16
    visits.of("c")
    assert len(visits) == 1
    visits.end("c")
    assert len(visits) == 0
    with pytest.raises(InvalidInputError, match="key"):
        visits.of(None)


def test_an_edit_is_saved_as_a_moving_picture_there_and_back_that_says_what_was_done(visit: Visit) -> None:
    with pytest.raises(InvalidInputError, match="nothing is edited"):
        visit.moving_picture("gif")
    visit.move({"yaw": 15.0})
    with Image.open(io.BytesIO(visit.moving_picture("gif"))) as picture:
        assert picture.n_frames == 32  # type: ignore[attr-defined]
        assert picture.size == (64, 64)
        assert b"yaw" in picture.info["comment"]
    with pytest.raises(InvalidInputError, match="gif, webp, mp4"):
        visit.moving_picture("avi")


def test_another_face_of_the_photo_is_chosen_by_its_number(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="face number 2"):
        visit.choose_face(1)
    pixels = np.full((120, 160, 3), 60, np.uint8)
    pixels[:, 80:] = 220
    quads = [np.array([[x, 30.0], [x, 90.0], [x + 60, 90.0], [x + 60, 30.0]]) for x in (10.0, 90.0)]
    faces = [PhotoFace(pixels[30:90, int(q[0, 0]) :][:, :60].copy(), Alignment(q, (160, 120))) for q in quads]
    monkeypatch.setattr("deltafast.app.visit.Refinement", _NoRefinement)
    visit._take_from(Photo("two", faces, pixels), 0)
    first = visit.face
    visit.choose_face(1)
    assert first is not None
    assert visit.face is not None
    assert visit.face.number == 1
    assert visit.face.photo is first.photo
    assert not torch.equal(visit.face.ws, first.ws)
    visit.move({"yaw": 20.0})
    changed = (visit.pictures(True)[1] != pixels).any(-1)
    assert changed[40:80, 100:140].any()
    assert not changed[:, :80].any()  # the other face keeps its very bytes
    with pytest.raises(InvalidInputError, match="face number 3"):
        visit.choose_face(2)


def test_visits_that_keep_too_much_give_up_what_can_be_made_again_the_longest_unseen_first(studio: Studio) -> None:
    now = SimpleNamespace(seconds=0.0)
    visits = Visits(studio, clock=lambda: now.seconds, most_bytes=50_000)
    made = []
    for seed in range(3):  # each keeps two pictures of 12,288 bytes
        now.seconds += 1
        made.append(visits.of(str(seed)))
        made[-1].sample(seed)
        made[-1].move({"yaw": 15.0})
    before = [visit.pictures(False) for visit in made]
    alphas = [visit.edited.alphas for visit in made if visit.edited is not None]
    assert sum(visit.nbytes for visit in made) > 50_000
    visits.of("2")
    assert [visit.nbytes > 0 for visit in made] == [False, True, True]
    assert visits.of("0").take_notes() == []  # nothing was lost, so there is nothing to tell
    for visit, pictures in zip(made, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(visit.pictures(False), pictures, strict=True))
    assert [visit.edited.alphas for visit in made if visit.edited is not None] == alphas
    made[0].doze()
    saved = Visit(studio)
    saved.sample(0)
    saved.move({"yaw": 15.0})
    assert made[0].latents() == saved.latents()


def test_a_dozing_visit_goes_on_with_the_next_move_and_keeps_its_undo(visit: Visit) -> None:
    visit.move({"yaw": 5.0})
    visit.settle()
    wanted = visit.move({"yaw": 20.0}).pixels
    visit.doze()
    assert visit.nbytes == 0
    assert np.array_equal(visit.move({"yaw": 20.0}).pixels, wanted)
    visit.doze()
    assert visit.undo().alphas == pytest.approx({"yaw": 5.0 / 30})


def test_a_large_photo_is_reduced_where_memory_is_short_and_its_person_is_told(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.full((1200, 2400, 3), 90, np.uint8)
    pixels[:, 1200:] = 200
    quads = [np.array([[x, 300.0], [x, 900.0], [x + 600, 900.0], [x + 600, 300.0]]) for x in (200.0, 1500.0)]
    faces = [PhotoFace(pixels[:64, int(q[0, 0]) :][:, :64].copy(), Alignment(q, (2400, 1200))) for q in quads]
    monkeypatch.setattr("deltafast.app.visit.Refinement", _NoRefinement)
    visit._take_from(Photo("two", faces, pixels), 0)
    visits = Visits(visit._studio, most_bytes=4_000_000)
    visits._visits["photo"] = visit
    shown = visit.pictures(True)[0]
    visits.of("somebody")
    assert visit.nbytes < 2_000_000
    assert np.array_equal(visit.pictures(True, shown=False)[0], shown)
    (note,) = visit.take_notes()
    assert "1024 pixels" in note
    assert visit.take_notes() == []
    visit.choose_face(1)
    visit.move({"yaw": 20.0})
    changed = (visit.pictures(True)[1] != shown).any(-1)
    assert changed[:, 640:896].any()
    assert not changed[:, :512].any()


class _NoRefinement:
    state = "done"

    def __init__(self, *given: object) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...
