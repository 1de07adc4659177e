"""Second-order pooling against PyTorch, written as its published code writes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.models import pooling
from fgjax.models.context import Context

pytestmark = pytest.mark.parity

CTX = Context()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def features(scale=1.0):
    return (np.random.default_rng(0).random((2, 5, 4, 6)) * scale).astype(np.float32)


def compare(torch, module, variables, function, x, epsilon=1e-4):
    """Values, and gradients by the maps, of ``module`` and of ``function`` of (b, c, h, w)."""
    maps = torch.tensor(x).permute(0, 3, 1, 2).contiguous().requires_grad_()
    want = function(maps)
    cotangent = np.random.default_rng(1).standard_normal(want.shape).astype(np.float32)
    want.backward(torch.tensor(cotangent))

    def pooled(x):
        return module.apply(variables, (x,), CTX)

    got, pull_back = jax.vjp(pooled, jnp.asarray(x))
    (slope,) = pull_back(jnp.asarray(cotangent))
    for ours, theirs in (
        (got, want.detach().numpy()),
        (slope, maps.grad.permute(0, 2, 3, 1).numpy()),
    ):
        assert np.linalg.norm(ours - theirs) <= epsilon * np.linalg.norm(theirs)


def test_bilinear(torch):
    def bilinear(x):
        b, c, h, w = x.shape
        x = x.reshape(b, c, h * w)
        z = torch.bmm(x, x.transpose(1, 2)) / (h * w)
        z = z.reshape(b, c * c)
        return torch.nn.functional.normalize(torch.sign(z) * torch.sqrt(torch.abs(z)))

    compare(torch, pooling.create("bilinear"), {}, bilinear, features())


def isqrt(torch, x, iterations):
    """Covpool, Sqrtm and Triuvec: the trace, the first step from Z = I, the last without Z."""
    b, c, h, w = x.shape
    n = h * w
    x = x.reshape(b, c, n)
    centering = (torch.eye(n) - torch.ones(n, n) / n) / n
    sigma = x @ centering @ x.transpose(1, 2)
    identity = torch.eye(c)
    trace = sigma.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    a = sigma / trace
    z = 0.5 * (3 * identity - a)
    y = a @ z
    for _ in range(1, iterations - 1):
        t = 0.5 * (3 * identity - z @ y)
        y, z = y @ t, t @ z
    y = 0.5 * y @ (3 * identity - z @ y)
    rows, columns = torch.triu_indices(c, c)
    return (torch.sqrt(trace) * y)[:, rows, columns]


@pytest.mark.parametrize("iterations", [2, 3, 5])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_isqrt_cov(torch, iterations, scale):
    module = pooling.create("isqrt_cov", project=None, iterations=iterations)
    x = features(scale)
    compare(torch, module, {}, lambda x: isqrt(torch, x, iterations), x)


def test_isqrt_cov_with_its_projection(torch):
    module = pooling.create("isqrt_cov", project=5)
    x = features()
    variables = module.init(jax.random.key(0), (jnp.asarray(x),), CTX)
    kernel = np.array(variables["params"]["project_conv5"]["conv"]["kernel"])[0, 0].T.copy()

    def pooled(x):
        x = torch.nn.functional.conv2d(x, torch.tensor(kernel)[:, :, None, None])
        x = torch.nn.functional.batch_norm(x, torch.zeros(5), torch.ones(5))
        return isqrt(torch, torch.relu(x), 5)

    compare(torch, module, variables, pooled, x)


def test_compact_bilinear_by_count_sketch_and_fourier_transform(torch):
    module = pooling.create("compact_bilinear", d=16)
    x = features()
    variables = module.init(jax.random.key(0), (jnp.asarray(x),), CTX)
    constants = {k: np.array(v) for k, v in variables["constants"].items()}

    def compact(x):
        spectra = []
        for side in "xy":
            hashes = constants[f"conv5_hashes_{side}"]
            signs = constants[f"conv5_signs_{side}"]
            matrix = torch.zeros(6, 16)
            matrix[torch.arange(6), torch.tensor(hashes).long()] = torch.tensor(signs)
            spectra.append(torch.fft.rfft(x.permute(0, 2, 3, 1) @ matrix))
        z = torch.fft.irfft(spectra[0] * spectra[1], n=16).sum((1, 2))
        return torch.nn.functional.normalize(torch.sign(z) * torch.sqrt(torch.abs(z)))

    compare(torch, module, variables, compact, x, epsilon=1e-3)
