"""Fused operations: each has a native kernel, a plain-torch reference, a fake and a gradient.

Every public op takes `impl="auto" | "native" | "reference"`: "auto" runs the native kernel where there is one for the
device and dtype and the reference elsewhere; "native" raises `NativeOpError` where there is none.
"""

from deltafast.ops.filtered_epilogue import filtered_epilogue, filtered_epilogue_reference
from deltafast.ops.modulated_conv2d import modulated_conv2d, modulated_conv2d_reference, pack_conv3x3
from deltafast.ops.modulated_epilogue import modulated_epilogue, modulated_epilogue_reference
from deltafast.ops.separable_conv import separable_conv, separable_conv_reference
from deltafast.ops.to_rgb import to_rgb, to_rgb_reference
from deltafast.ops.upfirdn2d import setup_filter, upfirdn2d, upfirdn2d_reference
from deltafast.ops.wavelet import inverse_haar
from deltafast.ops.wavelet_block import ImageLayer, SeparableLayer, wavelet_block, wavelet_block_reference
from deltafast.ops.wavelet_image import wavelet_image, wavelet_image_reference

__all__ = [
    "ImageLayer",
    "SeparableLayer",
    "filtered_epilogue",
    "filtered_epilogue_reference",
    "inverse_haar",
    "modulated_conv2d",
    "modulated_conv2d_reference",
    "modulated_epilogue",
    "modulated_epilogue_reference",
    "pack_conv3x3",
    "separable_conv",
    "separable_conv_reference",
    "setup_filter",
    "to_rgb",
    "to_rgb_reference",
    "upfirdn2d",
    "upfirdn2d_reference",
    "wavelet_block",
    "wavelet_block_reference",
    "wavelet_image",
    "wavelet_image_reference",
]
