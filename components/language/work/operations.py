"""Operations that all parts of a decoder are made of, as work.

Bytes of unfused operations are what each reads and writes, counted from the code of this package; a test counts them
again on a running model. `e` is the number of bytes of an activation.
"""

from composer.plans.costs import Setting, Work

MODULE_LAUNCHES = 7
"""Host time of one of Megatron-Core's or Transformer Engine's modules, in kernels started from PyTorch."""
PYTHON = {"attention": 26, "core_attention": 10, "dense": 6, "router": 24, "dispatch": 108, "layer": 22}
"""What Python takes beside starting kernels, likewise. Measured with tiny sizes on a CPU, in operations of a chain of
small ones; two thirds of it, since on a GPU starting a kernel takes longer and Python does not."""


def linear(part: str, rows: float, inner: float, outer: float, setting: Setting) -> Work:
    """A matrix product [rows, inner] · [inner, outer] with trained weights; sizes are this rank's."""
    return Work(
        part,
        "gemm",
        flops=2 * rows * inner * outer,
        bytes=setting.element * (rows * (inner + outer) + inner * outer),
        launches=MODULE_LAUNCHES,
        backward=1.0,
        weight_backward=1.0,
    )


def norm(part: str, elements: float, setting: Setting) -> Work:
    """An RMS norm with a weight: seven operations in float32, and casts; or Transformer Engine's one kernel."""
    e = setting.element
    if setting.implementation == "transformer_engine":
        return Work(part, "elementwise", 0, 2 * e * elements, MODULE_LAUNCHES, backward=2.0)
    casts = 2 * (e + 4) if e < 4 else 0
    backward = (92 + casts) / (28 + casts)  # ten products and sums, where the forward pass has five
    return Work(part, "elementwise", 0, (28 + casts) * elements, 9 if e < 4 else 6, backward=backward)


def scale_free_norm(part: str, elements: float, setting: Setting) -> Work:
    """x / rms(x), unfused whatever the implementation."""
    e = setting.element
    casts = 2 * (e + 4) if e < 4 else 0
    backward = (68 + casts) / (20 + casts)
    return Work(part, "elementwise", 0, (20 + casts) * elements, 7 if e < 4 else 5, backward=backward)


def rotation(part: str, elements: float, setting: Setting) -> Work:
    """Four half products, a difference and a sum of them, and one concatenation."""
    return Work(part, "elementwise", 0, 9 * setting.element * elements, 7, backward=1.1)


def addition(part: str, elements: float, setting: Setting) -> Work:
    """Two tensors into a third; in the backward pass the gradients of a residual's two readers are added."""
    return Work(part, "elementwise", 0, 3 * setting.element * elements, 1, backward=1.0)


def scaling(part: str, elements: float, setting: Setting) -> Work:
    """A tensor times a number or a row."""
    return Work(part, "elementwise", 0, 2 * setting.element * elements, 1, backward=1.0)


def gate(part: str, elements: float, setting: Setting, copies: int = 1) -> Work:
    """act(gate) · (up + 0): three operations; `copies`: how often they are started."""
    return Work(part, "elementwise", 0, 7 * setting.element * elements, 3 * copies, backward=1.9)


def python(part: str, copies: int = 1) -> Work:
    """What the host does beside starting kernels."""
    return Work("python", "elementwise", 0, 0, PYTHON[part] * copies)
