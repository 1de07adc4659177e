"""Networks of torchvision and timm with random weights, and their maps as NumPy arrays."""

import torch


def randomize(network, seed=0):
    """Every tensor of the state dict random, of a size that keeps activations near one."""
    generator = torch.Generator().manual_seed(seed)
    saved = network.state_dict().keys()
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if name not in saved:  # a constant, as the filter of a blur pool
                continue
            if tensor.ndim > 1:
                bound = (6 / tensor[0].numel()) ** 0.5
                tensor.uniform_(-bound, bound, generator=generator)
            elif name.endswith(("weight", "running_var", "gamma")):
                tensor.uniform_(0.6, 1.4, generator=generator)
            elif tensor.is_floating_point():
                tensor.uniform_(-0.2, 0.2, generator=generator)
    return network.eval()


def tensors(network):
    """The state dict."""
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def run(network, images, taps):
    """({level: what the module ``taps[level]`` gives, NHWC}, the network's result)."""
    found = {}

    def keep(level):
        # A copy, because a later layer may work in place.
        return lambda module, inputs, output: found.update({level: to_numpy(output)})

    handles = [
        network.get_submodule(path).register_forward_hook(keep(level))
        for level, path in taps.items()
    ]
    with torch.no_grad():
        result = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    for handle in handles:
        handle.remove()
    return found, result


def to_numpy(maps):
    return maps.detach().permute(0, 2, 3, 1).numpy().copy()
