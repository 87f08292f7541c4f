"""Initial weights and learning rates of parameters, by the names of modules.

From one random stream, an additional parameter changes the weights of every layer after it, so
two networks with different terms would share nothing under one seed and could not be compared in
pairs. With per-name seeds, the parts that two networks have in common start equal.
"""

import hashlib

import torch
from torch import nn

from quatrain.specs import SpecError

ParamGroups = list[dict[str, list[nn.Parameter] | float]]


def initialize_by_name(module: nn.Module, seed: int, prefix: str = "") -> None:
    """Call `reset_parameters` of every part that has it, seeded by `seed` and the part's name.

    Children come before their parent, which may overwrite them. `prefix` is put before the names,
    for a module that is part of another. Torch's random state is restored. A module on the meta
    device has no values, and is left as it is.

    Source: our own; common random numbers, as in Glasserman and Yao 1992,
        https://doi.org/10.1287/mnsc.38.6.884.
    """
    if {parameter.is_meta for parameter in module.parameters()} == {True}:
        return
    with torch.random.fork_rng(devices=[]):
        for name, part in reversed(list(module.named_modules())):
            reset = getattr(part, "reset_parameters", None)
            if reset is not None:
                digest = hashlib.sha256(f"{seed}/{prefix}{name}".encode()).digest()
                torch.manual_seed(int.from_bytes(digest[:7]))
                reset()


def param_groups(module: nn.Module, lr: float, weight_decay: float | None = None) -> ParamGroups:
    """The trainable parameters of `module`, grouped by learning rate, for a torch optimizer.

    Offset parameters of deformable convolutions, DCNv3, DCNv4 and deformable attention use a 0.1x
    learning rate. Any module scales the rate of its children by a class attribute such as
    `lr_scales = {"offset": 0.1}`. Learning rate schedulers of torch keep the ratio between groups.

    Args:
        module: the model.
        lr: the learning rate of parameters without a scale.
        weight_decay: the weight decay of every group; None for the optimizer's default.

    Returns:
        Groups with the keys `params`, `lr`, `lr_scale` and, if given, `weight_decay`.

    Example:
        >>> optimizer = torch.optim.AdamW(param_groups(model, lr=1e-4, weight_decay=0.05))

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 3.1 (offsets of a
        deformable convolution learn at a tenth of the rate).

    Raises:
        SpecError: if a module declares `rate_factors`, the name of `lr_scales` in 0.1.
    """
    for part in module.modules():
        if hasattr(part, "rate_factors"):
            name = f"{type(part).__name__}.rate_factors"
            raise SpecError(f"{name} is the name of an older version; rename it to lr_scales", name)
    scales = {
        parameter: scale
        for part in module.modules()
        for name, scale in getattr(part, "lr_scales", {}).items()
        for parameter in getattr(part, name).parameters()
    }
    members: dict[float, list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            members.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    options = {} if weight_decay is None else {"weight_decay": weight_decay}
    return [
        {"params": parameters, "lr": lr * scale, "lr_scale": scale, **options}
        for scale, parameters in members.items()
    ]
