"""`deltafast align`: photos to faces, cut out as FFHQ's are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["align"]


def align(
    photos: Annotated[Path, typer.Argument(help="A folder of photos, or one photo")],
    out: Annotated[Path, typer.Argument(help="Folder for the aligned faces")],
    size: Annotated[int, typer.Option(min=16, max=8192, help="Pixels of a side of the aligned faces")] = 1024,
    faces: Annotated[str, typer.Option(help="largest, all, or a face's number; 0 is the largest")] = "largest",
) -> None:
    """Find the faces of photos and cut them out as FFHQ's are; interrupted, the same command goes on.

    Every face is OUT/NAME.png (NAME-0.png, NAME-1.png ... where a photo gives several); OUT/NAME.json says where in
    the photo they lie. Photos that cannot be read or show no face are reported at the end; the rest is done.
    """
    from deltafast.cli._photo_files import face_choice, photo_names, reported, tell_of_animation
    from deltafast.errors import ImageError
    from deltafast.faces.alignment import FaceAligner
    from deltafast.files import begin_or_resume, write_json, write_png
    from deltafast.progress import track

    choice = face_choice(faces)
    names = photo_names(photos, out)
    aligner = FaceAligner()
    begin_or_resume(out / "settings.json", {"command": "align", "size": size, "faces": choice})
    failures: list[str] = []
    written = 0
    for path, name in track(names.items(), "aligning"):
        record = out / f"{name}.json"
        if record.exists():
            continue
        try:
            found = aligner.align_file(path, size=size, faces=choice)
            tell_of_animation(path)
        except ImageError as error:
            failures.append(str(error))
            continue
        entries = []
        for number, face in enumerate(found):
            file = f"{name}.png" if len(found) == 1 else f"{name}-{number}.png"
            write_png(out / file, face.image)
            entries.append({"file": file, **face.alignment.as_json()})
        write_json(record, {"photo": path.name, "faces": entries})
        written += len(entries)
    print(f"{written} faces aligned, {len(names)} photos seen; they are in {out}")
    reported(failures, len(names), "photos could not be aligned")
