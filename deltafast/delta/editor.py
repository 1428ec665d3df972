"""An editor: E and D of one attribute with the Δ that α = 1 means, and the edit itself."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.arguments import PlacedModule, check_floating
from deltafast.delta.config import DeltaConfig
from deltafast.delta.editor_file import bundled_editors, find_editor, read_editor_file, write_editor_file
from deltafast.delta.flow import ChartEncoder, FlowDecoder
from deltafast.delta.networks import DeltaDecoder, DeltaEncoder, GroupedLinear, Normalisation
from deltafast.delta.sharing import EDITOR_FILE, editor_in, upload, write_folder
from deltafast.delta.slots import check_slots, check_w_space, map_slots
from deltafast.errors import EditorError, InvalidInputError
from deltafast.ops import delta_edit, delta_flow
from deltafast.sequence_latents import GeneratorId
from deltafast.untrusted.checks import UnreadableError, check_name, reading, shown

__all__ = ["Editor", "EditorInfo", "LatentEditor", "check_latents", "ends_of", "list_editors", "load_editor"]


_MAX_NUM_WS = 1000
_MAX_W_DIM = 1 << 16
_MAX_FRAMES = 100_000


class LatentEditor(Protocol):
    """What `edit_batch` needs of an editor; `Editor` and `LinearEditor` have it."""

    @property
    def attribute(self) -> str:
        """Name of the attribute."""

    @property
    def slots(self) -> tuple[int, ...]:
        """The W+ slots it moves."""

    def edit(
        self, ws: Tensor, alpha: float | Tensor, *, raw: bool = False, slots: Iterable[int] | None = None
    ) -> Tensor:
        """Return edited latents `[N, num_ws, w_dim]`."""

    def offset(self, ws: Tensor) -> Tensor:
        """Return what the raw edit adds at α = 0, `[N, num_ws, w_dim]`."""

    def for_generator(self, generator: Any, *, same_w_space: bool = False) -> LatentEditor:
        """Return the editor for a generator's slots and device."""


@dataclass(frozen=True)
class EditorInfo:
    """What an editor is of: attribute, its frame values, num_ws, generator, config, and facts of its training.

    `values` are those of the training frames (degrees, or fractions 0..1): α = 1 means from the neutral one towards
    the last, as far as the config's `extent` says: to `value_range[1]`. `training` holds identities, steps and the
    final loss, those of the second stage of loss="precise" under "precise", as JSON values.
    """

    attribute: str
    values: tuple[float, ...]
    num_ws: int
    w_dim: int
    slots: tuple[int, ...]
    generator: GeneratorId
    config: DeltaConfig
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def value_range(self) -> tuple[float, float]:
        """The attribute's value at the neutral frame and at α = 1."""
        neutral, end, _ = ends_of(self.values)
        start = self.values[neutral]
        return start, start + self.config.extent * (self.values[end] - start)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            **{name: getattr(self, name) for name in ("attribute", "num_ws", "w_dim", "training")},
            "values": list(self.values),
            "slots": list(self.slots),
            "generator": asdict(self.generator),
            "config": self.config.as_json(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> EditorInfo:
        """Read what `as_json` gave; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        num_ws, w_dim = value["num_ws"], value["w_dim"]
        for name, number, largest in (("num_ws", num_ws, _MAX_NUM_WS), ("w_dim", w_dim, _MAX_W_DIM)):
            if type(number) is not int or not 1 <= number <= largest:
                raise UnreadableError(f"{name} is {shown(number)}, expected a whole number from 1 to {largest}")
        values = tuple(float(v) for v in value["values"])
        if not 2 <= len(values) <= _MAX_FRAMES or not all(math.isfinite(v) for v in values):
            raise UnreadableError(f"{len(values)} attribute values, expected 2 to {_MAX_FRAMES} finite ones")
        return cls(
            check_name(value["attribute"], "the attribute"),
            values,
            num_ws,
            w_dim,
            check_slots(value["slots"], num_ws),
            GeneratorId.from_json(value["generator"]),
            DeltaConfig.from_json(value["config"]),
            dict(value["training"]),
        )


def ends_of(values: Sequence[float]) -> tuple[int, int, int | None]:
    """Return the frames (neutral, α = 1, opposite end or None) of a sequence with these attribute values.

    Neutral is the value nearest to 0; α = 1 is the last frame (the first, where the last one is neutral).
    """
    neutral = min(range(len(values)), key=lambda k: (abs(values[k]), k))
    last = len(values) - 1
    if neutral in (0, last):
        return neutral, last - neutral, None
    return neutral, last, 0


def check_latents(ws: Tensor, num_ws: int, w_dim: int) -> None:
    """Raise `InvalidInputError` unless `ws` is floating point `[N, num_ws, w_dim]`."""
    check_floating(ws, "latents")
    if ws.ndim != 3 or ws.shape[1] != num_ws or ws.shape[2] != w_dim:
        raise InvalidInputError(
            f"latents must be floating point [N, {num_ws}, {w_dim}], got {ws.dtype} {list(ws.shape)}"
        )


class Editor(PlacedModule):
    """E, D and Δ of one attribute: explicit, continuous edits of W+ latents.

    `edit(ws, alpha)` moves latents; `encode(a_i, a_j)` gives Δ of any two latents and `decode(ws, delta)` is D(w, Δ).
    `info` says what it is of; `delta` `[num_ws, dim]` is the Δ of α = 1 and `delta_negative` that of α = -1, both zero
    outside `slots`; `linear_directions` `[slots, 2, w_dim]` are the mean changes of the training latents for α = 1 and
    α = -1, with which `deltafast.delta.LinearEditor.of` gives the LINEAR baseline. An editor is made by
    `deltafast.delta.train_editor` or read by `load_editor`. It lives in fp32 (`.to(device)` moves it) and edits latents
    of any floating dtype.
    """

    delta: Tensor
    delta_negative: Tensor
    linear_directions: Tensor

    def __init__(self, info: EditorInfo) -> None:
        super().__init__()
        self.info = info
        config, slots = info.config, len(info.slots)
        shape = (slots, info.w_dim, config.width, config.layers, config.dim)
        self.encoder = ChartEncoder(*shape) if config.form == "flow" else DeltaEncoder(*shape)
        self.decoder = FlowDecoder(*shape) if config.form == "flow" else DeltaDecoder(*shape)
        self.normalisation = Normalisation(slots, info.w_dim)
        self.register_buffer("delta", torch.zeros(info.num_ws, config.dim))
        self.register_buffer("delta_negative", torch.zeros(info.num_ws, config.dim))
        self.register_buffer("linear_directions", torch.zeros(slots, 2, info.w_dim))
        self._index = list(info.slots)

    @property
    def attribute(self) -> str:
        """Name of the attribute, such as "yaw"."""
        return self.info.attribute

    @property
    def values(self) -> tuple[float, ...]:
        """The attribute's values in the training frames."""
        return self.info.values

    @property
    def slots(self) -> tuple[int, ...]:
        """The W+ slots that it moves."""
        return self.info.slots

    @property
    def num_ws(self) -> int:
        """Number of W+ slots of the latents that it edits."""
        return self.info.num_ws

    @property
    def w_dim(self) -> int:
        """Number of components of a W code."""
        return self.info.w_dim

    def extra_repr(self) -> str:
        """Show attribute and slots."""
        return f"{self.attribute}, slots={list(self.slots)} of {self.num_ws}, generator={self.info.generator.name}"

    def encode(self, a_i: Tensor, a_j: Tensor) -> Tensor:
        """Return Δ_ij = E(a_i, a_j), float32 `[N, num_ws, dim]`, of latents `[N, num_ws, w_dim]`.

        Usable as `delta` of `edit` and `decode`; zero outside the editor's slots. Raises `InvalidInputError`.
        """
        check_latents(a_i, self.num_ws, self.w_dim)
        check_latents(a_j, self.num_ws, self.w_dim)
        with torch.autocast(a_i.device.type, enabled=False):
            delta = self.encoder(self._normalised(a_i), self._normalised(a_j)).transpose(0, 1)  # [N, S, dim]
            return self._spread(delta)

    def decode(self, ws: Tensor, delta: Tensor) -> Tensor:
        """Return D(w, Δ), float32 `[N, num_ws, w_dim]`, zero outside the slots, for Δ `[N or 1, num_ws, dim]`.

        Of a flow it is the change after time 1.
        """
        check_latents(ws, self.num_ws, self.w_dim)
        code = self._checked_delta(delta, len(ws))  # [S, N, dim]
        with torch.autocast(ws.device.type, enabled=False):
            return self._spread(self.normalisation.change(self.decoder(self._normalised(ws), code)))

    def offset(self, ws: Tensor) -> Tensor:
        """Return D(w, 0), float32 `[N, num_ws, w_dim]`: what the paper's raw edit adds at α = 0."""
        return self.decode(ws, torch.zeros_like(self.delta)[None])

    def edit(
        self,
        ws: Tensor,
        alpha: float | Tensor,
        *,
        raw: bool = False,
        slots: Iterable[int] | None = None,
        delta: Tensor | None = None,
    ) -> Tensor:
        """Return edited latents, `[N, num_ws, w_dim]` of the dtype and device of `ws`: w + D(w, α·Δ) − D(w, 0).

        With form="flow" it is where the flow of Δ leads from w in time α; there D(w, 0) = 0, and `raw` changes nothing.
        At α = 0 the result is `ws` itself, to the bit. Differentiable in `ws` and `alpha`.

        Args: `ws`: floating point `[N, num_ws, w_dim]`. `alpha`: a number, or one for each sample `[N]`; 1 goes from
        the neutral face to the last training frame, beyond it extrapolates, negative ones undo or go the other way.
        `raw`: the paper's w + D(w, α·Δ) instead. `slots`: move only these of the editor's slots. `delta`: another Δ
        (from `encode`), `[N or 1, num_ws, dim]`, instead of the bundled one. Raises `InvalidInputError`.
        """
        check_latents(ws, self.num_ws, self.w_dim)
        amount = self.amounts(alpha, ws)  # [N]
        kept = self._index if slots is None else [s for s in check_slots(slots, self.num_ws) if s in self._index]
        positions = [self._index.index(slot) for slot in kept]
        if delta is None:
            codes = torch.stack([self.delta[kept], self.delta_negative[kept]])[None]  # [1, 2, K, dim]
        else:
            code = self._checked_delta(delta, len(ws)).transpose(0, 1)[:, positions]  # [N, K, dim]
            codes = torch.stack([code, -code], 1)  # [N, 2, K, dim]
        decoder, normalisation = self.decoder, self.normalisation

        def chosen(t: Tensor, slot_axis: int = 0) -> Tensor:
            if kept == self._index:
                return t
            return t.index_select(slot_axis, torch.tensor(positions, dtype=torch.long, device=t.device))

        index = torch.tensor(kept, dtype=torch.long, device=ws.device)
        with torch.autocast(ws.device.type, enabled=False):
            if isinstance(decoder, FlowDecoder):
                direction = torch.einsum("nsd,sdh->nsh", codes[:, 0], chosen(decoder.code.weight))  # [1 or N, K, width]
                field = decoder.weights(normalisation)
                return delta_flow(
                    ws,
                    amount,
                    direction,
                    index,
                    latent_weight=chosen(field.latent_weight),
                    latent_bias=chosen(field.latent_bias),
                    hidden_weight=chosen(field.hidden_weight, 1),
                    hidden_bias=chosen(field.hidden_bias, 1),
                    output_weight=chosen(field.output_weight),
                    steps=self.info.config.flow_steps,
                )
            hidden = decoder.hidden_layers()
            direction = torch.einsum("nmsd,sdh->nmsh", codes, chosen(decoder.code.weight))  # [1 or N, 2, K, width]
            return delta_edit(
                ws,
                amount,
                direction,
                index,
                mean=chosen(normalisation.mean)[:, 0],
                scale=normalisation.scale,
                latent_weight=chosen(decoder.latent.weight),
                latent_bias=chosen(_bias(decoder.latent)),
                hidden_weight=chosen(hidden[0], 1),
                hidden_bias=chosen(hidden[1], 1),
                output_weight=chosen(decoder.output.weight),
                output_bias=chosen(_bias(decoder.output)) if raw else None,
            )

    def for_generator(self, generator: Any, *, same_w_space: bool = False) -> Editor:
        """Return this editor for a generator: its slots (MobileStyleGAN's 16, StyleGAN2-1024's 18 ...), its device.

        The generator must have the W space of the one that the editor was trained on; `same_w_space=True` vouches
        for a generator (a fine-tuned one, say) that does not know its own. Raises `EditorError` when the W spaces
        differ or when a slot that the editor moves has no counterpart.
        """
        own, other = self.info.generator, GeneratorId.of(generator)
        check_w_space(self.attribute, own, other, same_w_space)
        if generator.w_dim != self.w_dim:
            raise EditorError(f"the editor has w_dim {self.w_dim}, the generator {generator.w_dim}")
        pairs = map_slots(self.slots, self.num_ws, own.slots, generator.num_ws, other.slots)
        device = generator.device
        if all(t == s for t, s in pairs) and generator.num_ws == self.num_ws:
            if self.delta.device == device and own == other:
                return self
            source = list(range(len(self.slots)))
        else:
            source = [self._index.index(s) for _, s in pairs]
        info = replace(self.info, num_ws=generator.num_ws, slots=tuple(t for t, _ in pairs), generator=other)
        mapped = Editor(info)
        tensors = {}
        for name, tensor in self.state_dict().items():
            if name.startswith("delta"):
                full = tensor.new_zeros(generator.num_ws, tensor.shape[1])
                full[list(info.slots)] = tensor[[self._index[k] for k in source]]
                tensors[name] = full
            else:
                tensors[name] = tensor[source] if tensor.ndim == 3 else tensor
        mapped.load_state_dict(tensors)
        return mapped.to(device).eval().requires_grad_(False)

    def save(self, path: Any) -> None:
        """Write the editor as one safetensors file with its config inside, atomically; weights in fp16.

        Raises `DiskError` where it cannot be written, `EditorError` when it would pass the 5 MB an editor may have.
        """
        write_editor_file(path, self.attribute, self.info.as_json(), self.state_dict())

    @classmethod
    def from_pretrained(cls, source: Any, *, revision: str | None = None) -> Editor:
        """Return an editor of a folder that `save_pretrained` made, of a file, or of an id on the hub ("anna/beard").

        `revision`: a branch, tag or commit there. Raises `EditorError` when it is missing or damaged, `DeltafastError`
        that says what to install where an id needs it.
        """
        return load_editor(editor_in(source, revision))

    def save_pretrained(
        self,
        folder: Any,
        *,
        title: str | None = None,
        licence: str | None = None,
        figures: Mapping[str, str] | None = None,
        picture: NDArray[np.uint8] | None = None,
    ) -> Path:
        """Write a folder to hand on: the file, and a card that says what it is and what the generator's terms are.

        `title`: of the card; `licence`: the words under which it is handed on, beside those terms; `figures`: name to
        value, both text, such as those of `deltafast evaluate`; `picture`: uint8 `[H, W, 3]`. Raises
        `InvalidInputError`, `DiskError`, and `EditorError` as `save` does.
        """
        target = Path(folder)
        self.save(target / EDITOR_FILE)
        words = title or f"{self.attribute}, an editor for {self.info.generator.name}"
        return write_folder(target, self.info.as_json(), title=words, licence=licence, figures=figures, picture=picture)

    def push_to_hub(self, repo_id: str, *, private: bool = False, **card: Any) -> str:
        """Put the editor on the Hugging Face hub as `repo_id` ("anna/beard"), and return its address there.

        `card`: keywords of `save_pretrained`. Needs huggingface_hub (`pip install 'deltafast[hub]'`) and the token that
        its `hf auth login` leaves. Raises `DeltafastError` where it is missing or the hub refuses.
        """
        with tempfile.TemporaryDirectory(prefix="deltafast-") as folder:
            return upload(self.save_pretrained(folder, **card), repo_id, private=private)

    def _normalised(self, ws: Tensor) -> Tensor:
        result: Tensor = self.normalisation(ws[:, self._index].float())
        return result  # [S, N, w_dim]

    def _spread(self, values: Tensor) -> Tensor:
        full = values.new_zeros(values.shape[0], self.num_ws, values.shape[2])
        return full.index_copy(1, torch.tensor(self._index, device=values.device), values)

    def _checked_delta(self, delta: Tensor, batch: int) -> Tensor:
        dim = self.info.config.dim
        if delta.ndim != 3 or delta.shape[0] not in (1, batch) or tuple(delta.shape[1:]) != (self.num_ws, dim):
            raise InvalidInputError(
                f"delta must be [{batch} or 1, {self.num_ws}, {dim}] for this editor, got {list(delta.shape)}"
            )
        return delta[:, self._index].to(self.delta).expand(batch, -1, -1).transpose(0, 1)  # [S, N, dim]

    def amounts(self, alpha: float | Tensor, ws: Tensor) -> Tensor:
        """Return α of every sample, float32 `[N]`, of a number or of one for each; raises `InvalidInputError`."""
        try:
            amount = torch.as_tensor(alpha, dtype=torch.float32, device=ws.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInputError(f"alpha must be a number or a tensor [N], got {alpha!r}") from error
        if amount.ndim > 1 or (amount.ndim == 1 and amount.shape[0] != len(ws)):
            raise InvalidInputError(f"alpha must be a number or [N] = [{len(ws)}], got {list(amount.shape)}")
        return amount.expand(len(ws))


def _bias(layer: GroupedLinear) -> Tensor:
    """The bias of a layer that has one, `[S, outputs]`."""
    assert layer.bias is not None
    return layer.bias[:, 0]


def load_editor(path_or_name: Any) -> Editor:
    """Read an editor file, or a bundled editor by its name ("yaw"; see `list_editors`).

    Raises `EditorError` when the file is missing, damaged, or of another format version; it names the file.
    """
    path = find_editor(path_or_name)
    if path.suffix.lower() != ".safetensors":
        raise EditorError(f"{path} is no editor that deltafast has trained, which would be a .safetensors file")
    value, tensors = read_editor_file(path)
    with reading(lambda reason: EditorError(f"{path} is damaged: its config cannot be read ({reason})")):
        info = EditorInfo.from_json(value)
        with torch.device("meta"):  # no memory is taken on a file's word
            expected = {name: tensor.shape for name, tensor in Editor(info).state_dict().items()}
    if set(expected) != set(tensors):
        raise EditorError(f"{path} is damaged: tensors missing or unknown: {sorted(set(expected) ^ set(tensors))[:8]}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise EditorError(f"{path} is damaged: {name} is {list(tensor.shape)}, its config says {[*expected[name]]}")
    editor = Editor(info)
    editor.load_state_dict(tensors)
    return editor.eval().requires_grad_(False)


def list_editors() -> list[str]:
    """Return the names of the bundled editors, sorted; `load_editor` and `edit_batch` take them."""
    return sorted(bundled_editors())
