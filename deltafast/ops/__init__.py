"""Fused operations: each has a native kernel, a plain-torch reference, a fake and a gradient.

Every public op takes `impl="auto" | "native" | "reference"`: "auto" runs the native kernel where there is one for the
device and dtype and the reference elsewhere; "native" raises `NativeOpError` where there is none.
"""

from deltafast.ops.modulated_epilogue import modulated_epilogue, modulated_epilogue_reference
from deltafast.ops.separable_conv import separable_conv, separable_conv_reference
from deltafast.ops.upfirdn2d import setup_filter, upfirdn2d, upfirdn2d_reference
from deltafast.ops.wavelet import inverse_haar
from deltafast.ops.wavelet_image import wavelet_image, wavelet_image_reference

__all__ = [
    "inverse_haar",
    "modulated_epilogue",
    "modulated_epilogue_reference",
    "separable_conv",
    "separable_conv_reference",
    "setup_filter",
    "upfirdn2d",
    "upfirdn2d_reference",
    "wavelet_image",
    "wavelet_image_reference",
]
