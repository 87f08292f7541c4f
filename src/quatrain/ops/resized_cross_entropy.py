"""Cross entropy of bilinearly resized scores, without storing the scores of all pixels.

A segmenter's scores are coarse, and its labels are pixels. The scores of a few rows of pixels are
computed, turned into their own gradient in place, and added to that of the coarse scores, before
the next rows begin: memory for these rows, and for scores of full width and coarse height, instead
of several copies of classes x pixels, and numbers stay in the cache. Interpolation is a product of
matrices, one for each axis, and so is its gradient, which therefore is deterministic on GPUs, too.
Second derivatives (`create_graph=True`) store the scores of all pixels.

Shapes: n images, c classes, y x the coarse size, h w that of the labels, r rows of pixels.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.specs import InputError

_BLOCK, _LARGE_BLOCK = 2**18, 2**24
"""Scores of a block of rows: on a CPU they stay in its cache, elsewhere they are few launches."""


class _ResizedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, labels, ignore):  # noqa: ANN001, ANN205
        needs_grad = ctx.needs_input_grad[0]
        classes, width = scores.shape[1], labels.shape[2]
        down = _interpolation(scores, scores.shape[2], labels.shape[1])
        across = _interpolation(scores, scores.shape[3], width)
        wide = scores.transpose(1, 2) @ across.T  # n y c w
        grad_wide = torch.zeros_like(wide) if needs_grad else None
        total = scores.new_zeros(())
        for image in range(len(scores)):
            for rows, coarse in _blocks(wide[image].shape, labels.shape[1], scores.device.type):
                scored = labels[image, rows] != ignore
                target = labels[image, rows].masked_fill(~scored, 0)[:, None]
                weights = down[rows, coarse]
                logits = (weights @ wide[image, coarse].flatten(1)).view(-1, classes, width)
                target_logits = logits.gather(1, target)
                highest = logits.amax(1, keepdim=True)
                exponentials = logits.sub_(highest).exp_()
                sums = exponentials.sum(1, keepdim=True)
                loss = sums.log() + highest - target_logits
                total += loss[:, 0].masked_fill(~scored, 0).sum()
                if grad_wide is None:
                    continue
                counted = scored[:, None].to(sums.dtype)
                grad_logits = exponentials.mul_(counted / sums).scatter_add_(1, target, -counted)
                grad_wide[image, coarse].flatten(1).addmm_(weights.T, grad_logits.flatten(1))
        if grad_wide is not None:
            ctx.save_for_backward((grad_wide @ across).transpose(1, 2), scores, labels)
            ctx.ignore = ignore
        return total

    @staticmethod
    def backward(ctx, grad_output):  # noqa: ANN001, ANN205 - autograd's signature
        grad_scores, scores, labels = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives, which the blocks do not have
            total = _stored(scores, labels, ctx.ignore)
            return *torch.autograd.grad(total, scores, grad_output, create_graph=True), None, None
        return grad_scores * grad_output, None, None


def _interpolation(like: Tensor, size: int, pixels: int) -> Float[Tensor, "pixels size"]:
    """The weights of the coarse positions of one axis in each pixel, those of `interpolate`."""
    corners = torch.eye(size, dtype=like.dtype, device=like.device)[None]
    return interpolate(corners, pixels, mode="linear", align_corners=False)[0].T


def _blocks(wide: torch.Size, height: int, device: str) -> Iterator[tuple[slice, slice]]:
    """Blocks of rows of pixels, and the coarse rows that they read, of an image (y, c, w)."""
    coarse, classes, width = wide
    step = max(1, (_BLOCK if device == "cpu" else _LARGE_BLOCK) // (classes * width))
    for start in range(0, height, step):
        stop = min(start + step, height)
        # One more coarse row than is read, so that rounding never leaves one out.
        first = max(0, start * coarse // height - 2)
        last = min(coarse, stop * coarse // height + 3)
        yield slice(start, stop), slice(first, last)


def _stored(
    scores: Float[Tensor, "n c y x"], labels: Int64[Tensor, "n h w"], ignore: int
) -> Float[Tensor, ""]:
    """The formula, which stores the scores of all pixels."""
    size = (labels.shape[1], labels.shape[2])
    resized = interpolate(scores, size, mode="bilinear", align_corners=False)
    return cross_entropy(resized, labels, ignore_index=ignore, reduction="sum")


def resized_cross_entropy(
    scores: Float[Tensor, "n c y x"], labels: Int64[Tensor, "n h w"], ignore: int = -100
) -> Float[Tensor, ""]:
    """Sum over pixels of the cross entropy of the bilinearly resized scores; `ignore` is no label.

    Equal to `cross_entropy(interpolate(scores, (h, w), mode="bilinear"), labels,
    ignore_index=ignore, reduction="sum")` for finite scores; one that is not makes the sum NaN or
    infinite wherever it is. The scores are kept until the backward pass, and must not be changed in
    place before it: autograd raises if they are.

    Raises:
        InputError: if scores and labels have different numbers of images.

    Source: Zhao et al. 2017, https://arxiv.org/abs/1612.01105, section 3.3 (the loss of a pixel);
        Wijmans et al. 2024, https://arxiv.org/abs/2411.09009 (by blocks).
    """
    if len(scores) != len(labels):
        text = f"labels of shape {tuple(labels.shape)} do not fit {len(scores)} images"
        raise InputError(f"{text}; pass one map of labels for each image", "labels")
    with autocast_disabled(scores):
        return _ResizedCrossEntropy.apply(upcast(scores), labels, ignore)
