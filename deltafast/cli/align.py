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
    the photo they lie. Photos of subfolders are found too, and their faces lie in subfolders. Photos that cannot be
    read or show no face are reported at the end; the rest is done.
    """
    from deltafast.cli._photo_files import face_choice, reported
    from deltafast.cli._wording import counted
    from deltafast.faces.photos import PhotoReader
    from deltafast.files import IMAGE_SUFFIXES, write_json, write_png
    from deltafast.inputs import Failures, find_inputs
    from deltafast.progress import track
    from deltafast.runs import Run, file_identity

    choice = face_choice(faces)
    inputs = find_inputs(photos, out, IMAGE_SUFFIXES, "images")
    reader = PhotoReader(True, choice, size)
    run = Run(out, "align", {"size": size, "faces": choice})
    failures = Failures()
    aligned = 0
    for photo in track(inputs, "aligning"):
        with failures.of(str(photo.path)):
            source = file_identity(photo.path)
            if run.is_finished(photo.name, source):
                continue
            found = reader.read(photo.path).faces
            written, entries = [out / f"{photo.name}.json"], []
            for number, face in enumerate(found):
                written.append(out / (f"{photo.name}.png" if len(found) == 1 else f"{photo.name}-{number}.png"))
                write_png(written[-1], face.pixels)
                if face.alignment.doubt is not None:
                    typer.echo(f"warning: {photo.path}, {written[-1].name}: {face.alignment.doubt}", err=True)
                entries.append({"file": written[-1].name, **face.alignment.as_json()})
            write_json(written[0], {"photo": photo.path.name, "faces": entries})
            run.finish(photo.name, source, written)
            aligned += len(found)
    print(f"{counted(aligned, 'face', 'aligned')}, {counted(len(inputs), 'photo', 'seen')}; they are in {out}")
    reported(failures, len(inputs), "photos could not be aligned")
