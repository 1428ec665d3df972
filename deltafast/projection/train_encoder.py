"""Training of the encoder on pairs sampled from a generator: `deltafast train-encoder`.

The backbone starts from ImageNet, the head from ridge regression on its features (in closed form). Then the
backbone's later layers and the head are trained together on randomly degraded images, first towards the codes, then
through the generator (`train_through_generator`). Sampling goes on at the last finished shard, training at the last
finished epoch, the second stage at its last saved step. Several processes, as torchrun starts them, share the shards
and every batch; what a step draws at random it draws for the whole batch, so that their number changes nothing else.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.arguments import check_count, check_not_negative, check_seed
from deltafast.errors import InvalidInputError
from deltafast.files import alone_in, write_json
from deltafast.generators.base import Generator
from deltafast.peers import Peers, peers
from deltafast.pixels import to_floats
from deltafast.progress import track
from deltafast.projection.augmentation import degrade
from deltafast.projection.backbone import load_imagenet_backbone, normalise_images
from deltafast.projection.encoder import Encoder, EncoderConfig, pool_features
from deltafast.projection.sampling import SampleConfig, read_pairs, sample_pairs, slot_groups
from deltafast.projection.train_through_generator import ImageTraining, train_through_generator
from deltafast.runs import begin_or_resume, digest_of, load_state, save_state
from deltafast.schedule import cosine_rate

__all__ = ["EncoderTraining", "fit_ridge_head", "train_encoder"]

_FROZEN = 7  # layers 0..6 of the backbone keep their ImageNet weights


@dataclass(frozen=True)
class EncoderTraining:
    """Settings of a training run; the defaults are those of the bundled encoder.

    `mixed_precision` runs the convolutions in bfloat16, which is faster where the processor has it; `images` is the
    second stage.
    """

    epochs: int = 12
    batch: int = 32
    lr_head: float = 3e-4
    lr_backbone: float = 3e-4
    input_resolution: int = 192
    hidden: int = 224
    ridge: float = 1.0
    weight_decay: float = 0.02
    held_out_shards: int = 8
    seed: int = 0
    mixed_precision: bool = True
    images: ImageTraining = field(default_factory=ImageTraining)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in (
            ("epochs", 0),
            ("batch", 1),
            ("input_resolution", 8),
            ("hidden", 1),
            ("held_out_shards", 1),
        ):
            check_count(name, getattr(self, name), least)
        for name in ("lr_head", "lr_backbone", "ridge", "weight_decay"):
            check_not_negative(name, getattr(self, name))


def train_encoder(
    generator: Generator,
    folder: str | os.PathLike[str],
    samples: SampleConfig | None = None,
    training: EncoderTraining | None = None,
    *,
    heads: str | os.PathLike[str] | None = None,
) -> Encoder:
    """Train an encoder for `generator`, working in `folder`, and return it; its file is `folder/encoder.safetensors`.

    `heads`: a folder of rendered faces (`deltafast render`), unpaired data of the second stage. Interrupted at any
    moment, the same call goes on from the last finished shard, epoch or saved step. `folder/training.json` records
    the held-out R² (share of the codes' variance explained, per slot group) after every epoch and after the second
    stage, and that stage's image distances before and after. Raises `ResumeError` when the folder was begun with other
    settings or other heads, or another training is at work in it, `InvalidInputError` when there are too few pairs.

    In processes that torchrun started the same call trains one encoder on all of them, each on the device of its
    `generator`: each takes its part of every batch (`EncoderTraining.batch` is of all together), and the first writes
    the files. A restart may have another number of processes. The result is that of one process up to the order in
    which gradients are added.
    """
    with peers(generator.device) as group, alone_in(folder) if group.is_first else contextlib.nullcontext():
        return _train(group, generator, folder, samples, training, heads)


def _train(
    group: Peers,
    generator: Generator,
    folder: str | os.PathLike[str],
    samples: SampleConfig | None,
    training: EncoderTraining | None,
    heads: str | os.PathLike[str] | None,
) -> Encoder:
    folder, heads = Path(folder), None if heads is None else Path(heads)
    samples = samples or SampleConfig(resolution=min(256, generator.img_resolution))
    training = training or EncoderTraining()
    held_out = training.held_out_shards * samples.shard
    if samples.count < 2 * held_out:
        raise InvalidInputError(
            f"{samples.count} pairs are too few: {held_out} are held out, at least {2 * held_out} are needed"
        )
    described = {"heads": heads is not None, "head_pictures": None if heads is None else _described(heads)}
    if group.is_first:
        begin_or_resume(folder / "settings.json", {**asdict(training), "samples": asdict(samples), **described})
    shards = sample_pairs(generator, folder / "pairs", samples, group)
    torch.manual_seed(training.seed)
    encoder = _new_encoder(generator, training, shards).to(generator.device)
    run = _Run(encoder, shards, training, group)
    if group.is_first and not run.restore(folder / "state.pt"):
        fit_ridge_head(encoder, run.used, training)
        run.history.append({"epoch": 0, "held_out_r2": run.held_out_r2()})
        run.save(folder / "state.pt")
    group.wait()
    if not group.is_first:
        run.restore(folder / "state.pt")
    while run.epoch < training.epochs:
        run.train_epoch()
        if group.is_first:
            run.save(folder / "state.pt")
    report: dict[str, Any] = {"history": run.history, "settings": asdict(training)}
    del run.model  # what DDP hangs on the weights goes with it
    if training.images.steps > 0:
        report["images"] = train_through_generator(
            generator,
            encoder,
            run.used,
            run.held_out,
            heads,
            training.images,
            class_index=samples.class_index,
            state=folder / "images.state.pt",
            group=group,
        )
    if group.is_first:
        if training.images.steps > 0:
            report["held_out_r2"] = run.held_out_r2()
        write_json(folder / "training.json", report)
        encoder.save(folder / "encoder.safetensors")
    group.wait()
    return encoder.cpu().eval().requires_grad_(False)


def _described(heads: Path) -> str:
    """What tells one folder of pictures from another: the digest of their names and sizes."""
    pictures = sorted(heads.rglob("*.png"))
    return digest_of([[path.relative_to(heads).as_posix(), path.stat().st_size] for path in pictures])


def _new_encoder(generator: Generator, training: EncoderTraining, shards: list[Path]) -> Encoder:
    groups = slot_groups(generator.num_ws)
    hidden = min(training.hidden, len(groups) * generator.w_dim)
    config = EncoderConfig(training.input_resolution, generator.num_ws, generator.w_dim, groups, hidden)
    encoder = Encoder(config, generator.w_space, generator.name)
    encoder.backbone.load_state_dict(load_imagenet_backbone().state_dict())
    codes = torch.cat([pair[0] for pair in read_pairs(shards[:16])])  # [n, groups, w_dim]
    encoder.w_avg.copy_(generator.w_avg.float().cpu())
    encoder.w_scale.copy_((codes - encoder.w_avg).square().mean().sqrt())
    encoder.to(memory_format=torch.channels_last)
    return encoder.eval()


@torch.inference_mode()
def fit_ridge_head(encoder: Encoder, shards: list[Path], training: EncoderTraining) -> None:
    """Set the head to the rank-limited ridge regression from the backbone's features to the codes.

    The regression is solved in its dual form over all pairs of `shards`; of its predictions the principal
    directions are kept, as many as the head is wide (reduced-rank regression).
    """
    features, targets = [], []
    device = encoder.w_avg.device
    for codes, images in track(read_pairs(shards), "features", len(shards)):
        for start in range(0, len(codes), training.batch):
            x = _prepare(to_floats(images[start : start + training.batch]), training.input_resolution)
            with torch.autocast(device.type, torch.bfloat16, enabled=training.mixed_precision):
                outputs = encoder.backbone(x.to(device))
            features.append(pool_features([f.float() for f in outputs]).cpu())
        targets.append(((codes - encoder.w_avg.cpu()) / encoder.w_scale.cpu()).flatten(1))
    X, Y = torch.cat(features), torch.cat(targets)  # [n, F], [n, groups * w_dim]
    head = encoder.head
    mean, scale = X.mean(0), 1 / (X.std(0) + 1e-3)
    X = (X - mean) * scale / X.shape[1] ** 0.5
    centre = Y.mean(0)
    kernel = X @ X.T  # [n, n]
    dual = torch.linalg.solve(kernel + training.ridge * torch.eye(len(X)), Y - centre)  # [n, groups * w_dim]
    predicted = kernel @ dual
    values, vectors = torch.linalg.eigh(predicted.T @ predicted)  # ascending
    directions = vectors[:, values.argsort(descending=True)[: head.inner.out_features]]  # [groups * w_dim, hidden]
    weight = X.T @ (dual @ directions)  # [F, hidden]
    spread = predicted @ directions  # [n, hidden]
    unit = spread.std(0) + 1e-6  # the hidden units get deviation 1
    head.feature_mean.copy_(mean)
    head.feature_scale.copy_(scale)
    head.inner.weight.copy_((weight / unit).T / X.shape[1] ** 0.5)
    head.inner.bias.zero_()
    head.outer.weight.copy_(directions * unit)
    head.outer.bias.copy_(centre)


def _prepare(images: Tensor, resolution: int) -> Tensor:
    """Images `[N, 3, H, W]` in [-1, 1] as the backbone wants them: reduced, normalised, channels last."""
    size = (resolution, resolution)
    if tuple(images.shape[-2:]) != size:
        images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    return normalise_images(images).contiguous(memory_format=torch.channels_last)


class _Trained(nn.Module):
    """The part of an encoder that the first stage trains, and what comes before it: images to its head's output."""

    def __init__(self, encoder: Encoder, training: EncoderTraining) -> None:
        super().__init__()
        self.backbone, self.head = encoder.backbone, encoder.head
        self._mixed = training.mixed_precision

    def forward(self, images: Tensor, kept: Tensor) -> Tensor:  # [N, 3, R, R], [N, features] -> [N, groups, w_dim]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._mixed):
            with torch.no_grad():
                f6 = self.backbone(normalise_images(images), (_FROZEN - 1,))[0]
            f13, f17 = self.backbone(f6, (13, 17), _FROZEN)
        codes: Tensor = self.head(f6.float(), f13.float(), f17.float(), kept)
        return codes


class _Run:
    """The state of one training: encoder, optimiser, schedule, and what was measured."""

    def __init__(
        self, encoder: Encoder, shards: list[Path], training: EncoderTraining, group: Peers | None = None
    ) -> None:
        self.group = group or Peers()
        self.encoder = encoder
        self.training = training
        self.held_out = shards[: training.held_out_shards]
        self.used = shards[training.held_out_shards :]
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        encoder.requires_grad_(False)
        backbone = list(encoder.backbone.features[_FROZEN:].parameters())
        head = list(encoder.head.parameters())
        for parameter in (*backbone, *head):
            parameter.requires_grad_(True)
        groups = [{"params": backbone, "lr": training.lr_backbone}, {"params": head, "lr": training.lr_head}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
        per_shard = len(next(read_pairs(self.used[:1]))[0])
        steps = max(1, training.epochs * len(self.used) * math.ceil(per_shard / training.batch))
        warm = max(1, round(0.03 * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: cosine_rate(step, steps, warm))
        self.model = self.group.together(_Trained(encoder, training))

    def train_epoch(self) -> None:
        random = torch.Generator().manual_seed(self.training.seed * 7919 + self.epoch)
        torch.manual_seed(self.training.seed * 7919 + self.epoch)  # dropout
        order = [self.used[i] for i in torch.randperm(len(self.used), generator=random).tolist()]
        losses = []
        for codes, images in track(read_pairs(order), f"encoder, epoch {self.epoch + 1}", len(order)):
            rows = torch.randperm(len(codes), generator=random)
            for start in range(0, len(codes), self.training.batch):
                chosen = rows[start : start + self.training.batch]
                size = (self.training.input_resolution,) * 2
                small = F.interpolate(to_floats(images[chosen]), size, mode="bicubic", antialias=True).clamp(-1, 1)
                seen = degrade(small, random).contiguous(memory_format=torch.channels_last)
                losses.append(self._step(seen, codes[chosen]))
        self.epoch += 1
        loss = float(self.group.sum(torch.tensor(sum(losses), dtype=torch.float64))) / len(losses)
        if self.group.is_first:
            self.history.append({"epoch": self.epoch, "loss": round(loss, 5), "held_out_r2": self.held_out_r2()})

    def _step(self, images: Tensor, codes: Tensor) -> float:
        """Take one step on a batch, of which this process does its part; return that part's share of the loss."""
        encoder, group = self.encoder, self.group
        device = encoder.w_avg.device
        target = (codes.to(device) - encoder.w_avg) / encoder.w_scale  # [N, groups, w_dim]
        encoder.head.train()  # batch statistics of the backbone stay those of ImageNet
        own, kept = group.share(len(images)), encoder.head.kept(len(images))
        error = self.model(images[own].to(device), kept[own]) - target[own]
        # of no images a loss whose gradient is 0, which the others wait for
        loss = error.square().mean() * group.weight(len(images)) if error.numel() else error.sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach()) / group.count

    @torch.inference_mode()
    def held_out_r2(self) -> list[float]:
        """Share of the variance of the held-out codes explained, one figure per slot group."""
        self.encoder.eval()
        device = self.encoder.w_avg.device
        predicted = torch.cat([self.encoder(to_floats(x).to(device)).cpu() for _, x in read_pairs(self.held_out)])
        targets = torch.cat([codes for codes, _ in read_pairs(self.held_out)])  # [n, groups, w_dim]
        residual = (predicted - targets).square().sum((0, 2))
        total = (targets - targets.mean(0)).square().sum((0, 2))
        return [round(float(value), 4) for value in 1 - residual / total]

    def save(self, path: Path) -> None:
        state = {
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "epoch": self.epoch,
        }
        save_state(path, state, asdict(self.training))

    def restore(self, path: Path) -> bool:
        saved = load_state(path, asdict(self.training))
        if saved is None:
            return False
        self.encoder.load_state_dict(saved["encoder"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.history = saved["history"]
        self.epoch = int(saved["epoch"])
        return True
