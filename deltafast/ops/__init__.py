"""Fused operations: each has a native kernel, a plain-torch reference, a fake and a gradient.

Every public op takes `impl="auto" | "native" | "reference"`: "auto" runs the native kernel where there is one for the
device and dtype and the reference elsewhere; "native" raises `NativeOpError` where there is none. Where an op is made
of other native ops, its docstring says so.
"""

from deltafast.ops._library import Impl
from deltafast.ops.activated_depthwise import activated_depthwise, activated_depthwise_reference
from deltafast.ops.conv_to_rgb import conv_to_rgb, conv_to_rgb_reference
from deltafast.ops.delta_edit import delta_edit, delta_edit_reference
from deltafast.ops.delta_flow import (
    FLOW_STEPS,
    MAX_FLOW_STEPS,
    delta_flow,
    delta_flow_reference,
    flow_activation,
    flow_coordinates,
    flow_coordinates_reference,
)
from deltafast.ops.delta_loss import delta_loss, delta_loss_reference
from deltafast.ops.delta_weights import DeltaSizes, split_weights, weight_count, weight_shapes
from deltafast.ops.epilogue_to_rgb import epilogue_to_rgb, epilogue_to_rgb_reference
from deltafast.ops.filtered_epilogue import filtered_epilogue, filtered_epilogue_reference
from deltafast.ops.implicit_conv import implicit_conv, implicit_conv_reference
from deltafast.ops.invariant_linear import invariant_linear, invariant_linear_reference
from deltafast.ops.modulated_conv2d import modulated_conv2d, modulated_conv2d_reference, pack_conv3x3
from deltafast.ops.modulated_epilogue import modulated_epilogue, modulated_epilogue_reference
from deltafast.ops.packed_conv3x3 import PackedConv3x3
from deltafast.ops.philox import philox4x32, philox4x32_reference, philox_normal, philox_normal_reference
from deltafast.ops.separable_conv import separable_conv, separable_conv_reference
from deltafast.ops.subband_image import subband_image, subband_image_reference
from deltafast.ops.to_rgb import to_rgb, to_rgb_reference
from deltafast.ops.upfirdn2d import setup_filter, upfirdn2d, upfirdn2d_reference
from deltafast.ops.wavelet import inverse_haar
from deltafast.ops.wavelet_block import ImageLayer, SeparableLayer, wavelet_block, wavelet_block_reference
from deltafast.ops.wavelet_image import wavelet_image, wavelet_image_reference

__all__ = [
    "activated_depthwise",
    "activated_depthwise_reference",
    "conv_to_rgb",
    "conv_to_rgb_reference",
    "delta_edit",
    "delta_edit_reference",
    "delta_flow",
    "delta_flow_reference",
    "delta_loss",
    "delta_loss_reference",
    "DeltaSizes",
    "epilogue_to_rgb",
    "epilogue_to_rgb_reference",
    "filtered_epilogue",
    "filtered_epilogue_reference",
    "FLOW_STEPS",
    "MAX_FLOW_STEPS",
    "flow_activation",
    "flow_coordinates",
    "flow_coordinates_reference",
    "ImageLayer",
    "Impl",
    "SeparableLayer",
    "implicit_conv",
    "implicit_conv_reference",
    "invariant_linear",
    "invariant_linear_reference",
    "inverse_haar",
    "modulated_conv2d",
    "modulated_conv2d_reference",
    "modulated_epilogue",
    "modulated_epilogue_reference",
    "pack_conv3x3",
    "PackedConv3x3",
    "philox4x32",
    "philox4x32_reference",
    "philox_normal",
    "philox_normal_reference",
    "separable_conv",
    "separable_conv_reference",
    "setup_filter",
    "split_weights",
    "subband_image",
    "subband_image_reference",
    "to_rgb",
    "to_rgb_reference",
    "upfirdn2d",
    "upfirdn2d_reference",
    "wavelet_block",
    "wavelet_block_reference",
    "wavelet_image",
    "wavelet_image_reference",
    "weight_count",
    "weight_shapes",
]
