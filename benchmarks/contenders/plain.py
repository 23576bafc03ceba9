"""What one writes without a library for training: NumPy alone, and JAX with Optax."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .core import Contender

# Of SELU (Klambauer et al. 2017).
_SCALE, _ALPHA = 1.0507009873554805, 1.6732632423543772


def _weights(work, d: int, classes: int) -> list[dict[str, np.ndarray]]:
    """Uniform on ±1/√d_in, as all contenders begin."""
    random = np.random.default_rng(0)
    layers = []
    for d_in, d_out in pairwise((d, *work.hidden, classes)):
        ends = 1 / np.sqrt(d_in)
        layer = {"w": random.uniform(-ends, ends, (d_in, d_out)).astype(np.float32)}
        if work.bias:
            layer["b"] = np.zeros(d_out, np.float32)
        layers.append(layer)
    return layers


class _Plain(Contender):
    @classmethod
    def lacks(cls, work):
        return "no normalisation and no dropout" if work.norm or work.dropout else None


class NumPy(_Plain):
    """The matrices of the notes in NumPy, updated in place."""

    name, package = "numpy", "numpy"

    def about(self):  # noqa: D102
        return f"numpy {np.__version__}, in float32"

    def train(self, epochs, pause):  # noqa: D102
        self.layers = _weights(self.work, self.x.shape[1], self.classes)
        y, random = self.one_hot(), np.random.default_rng(0)
        for _ in range(epochs):
            order = random.permutation(len(self.x))
            for begin in range(0, len(order), self.work.batch):
                rows = order[begin : begin + self.work.batch]
                self._step(self.x[rows], y[rows])
            pause()

    def _step(self, x, y):
        work, layers = self.work, self.layers
        inputs, slopes = [], []
        for layer in layers[:-1]:
            inputs.append(x)
            x, slope = self._activated(_affine(layer, x))
            slopes.append(slope)
        inputs.append(x)
        z = _affine(layers[-1], x)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        dz = (e / e.sum(axis=1, keepdims=True) - y) / np.float32(len(y))
        rate, decay = np.float32(work.learning_rate), np.float32(work.l2)
        for i in range(len(layers) - 1, -1, -1):
            layer, grads = layers[i], {"w": inputs[i].T @ dz}
            if work.bias:
                grads["b"] = dz.sum(axis=0)
            if i:
                dz = (dz @ layer["w"].T) * slopes[i - 1]
            if work.l2:
                grads["w"] += decay * layer["w"]
            for name, grad in grads.items():
                grad *= rate
                layer[name] -= grad

    def _activated(self, z):
        if self.work.activation == "relu":
            return np.maximum(z, 0), z > 0
        low = np.float32(_ALPHA) * np.exp(np.minimum(z, 0))
        scale = np.float32(_SCALE)
        return scale * np.where(z > 0, z, low - np.float32(_ALPHA)), scale * np.where(z > 0, 1, low)

    def predict(self, x):  # noqa: D102
        for layer in self.layers[:-1]:
            x, _ = self._activated(_affine(layer, x))
        return _affine(self.layers[-1], x).argmax(axis=1)


def _affine(layer, x):
    z = x @ layer["w"]
    return z + layer["b"] if "b" in layer else z


class Optax(_Plain):
    """JAX's automatic differentiation with Optax, a compiled step called from Python."""

    name, package = "jax + optax", "optax"

    def about(self):  # noqa: D102
        import jax
        import optax

        return f"optax {optax.__version__}, jax {jax.__version__}"

    def train(self, epochs, pause):  # noqa: D102
        import jax
        import jax.numpy as jnp
        import optax

        work = self.work
        rule = optax.chain(
            optax.add_decayed_weights(work.l2, _is_weight) if work.l2 else optax.identity(),
            optax.sgd(work.learning_rate),
        )

        def cost(layers, x, labels):
            z = self._network(layers, x)
            return optax.softmax_cross_entropy_with_integer_labels(z, labels).mean()

        @jax.jit
        def step(layers, state, x, labels, rows):
            grads = jax.grad(cost)(layers, x[rows], labels[rows])
            updates, state = rule.update(grads, state, layers)
            return optax.apply_updates(layers, updates), state

        layers: Any = jax.tree.map(jnp.asarray, _weights(work, self.x.shape[1], self.classes))
        state = rule.init(layers)
        x, labels = jnp.asarray(self.x), jnp.asarray(self.labels, jnp.int32)
        step = jax.jit(step, donate_argnums=(0, 1))
        random = np.random.default_rng(0)
        for _ in range(epochs):
            order = random.permutation(len(self.x)).astype(np.int32)
            for begin in range(0, len(order), work.batch):
                rows = order[begin : begin + work.batch]
                layers, state = step(layers, state, x, labels, rows)
            jax.block_until_ready(layers)
            pause()
        self.layers = layers

    def _network(self, layers, x):
        import jax

        activation = {"relu": jax.nn.relu, "selu": jax.nn.selu}[self.work.activation]
        precision = "bfloat16" if self.work.products == "bfloat16" else "float32"
        with jax.default_matmul_precision(precision):
            for layer in layers[:-1]:
                x = activation(_affine(layer, x))
            return _affine(layers[-1], x)

    def predict(self, x):  # noqa: D102
        return np.asarray(self._network(self.layers, x)).argmax(axis=1)


def _is_weight(layers):
    return [{name: name == "w" for name in layer} for layer in layers]
