"""Parameter groups with learning rates of their own, for optimizers of torch."""

from torch import nn

from quatrain.specs import SpecError

ParamGroups = list[dict[str, list[nn.Parameter] | float]]


def param_groups(module: nn.Module, lr: float, weight_decay: float | None = None) -> ParamGroups:
    """The trainable parameters of `module`, grouped by learning rate, for a torch optimizer.

    Offset parameters of deformable convolutions use a 0.1x learning rate. Any module scales the
    rate of its children by a class attribute such as `lr_scales = {"offset": 0.1}`. Learning rate
    schedulers of torch keep the ratio between groups.

    Args:
        module: The model.
        lr: The learning rate of parameters without a scale.
        weight_decay: The weight decay of every group; None for the optimizer's own.

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
            raise SpecError(name, part.rate_factors, "the name lr_scales", "rename the attribute")
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
