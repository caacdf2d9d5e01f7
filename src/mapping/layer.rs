//! One convolution, and the two ways of counting.

use serde::{Deserialize, Serialize};

use super::{MAX_DIMENSION, MappingError, Padding};

/// A two-dimensional convolution, described by its shapes alone. Bias is not counted: it never
/// occupies the array.
///
/// ```
/// use vwc_sdk::mapping::{Accounting, ConvLayer};
///
/// let layer = ConvLayer::square("conv2", 18, 3, 24, 32).with_padding(1);
/// assert_eq!(layer.params(), 3 * 3 * 24 * 32);
/// assert_eq!(layer.output(Accounting::ExactGeometry), [18, 18]);
/// assert_eq!(layer.output(Accounting::AsPublished), [16, 16]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvLayer {
    /// What reports and errors call the layer.
    pub name: String,
    /// Input feature map before padding, `[height, width]` in cells.
    pub input: [usize; 2],
    /// Kernel, `[height, width]` in cells.
    pub kernel: [usize; 2],
    /// Stride, `[down, across]` in cells.
    pub stride: [usize; 2],
    /// Zero padding on each of the four sides, in cells.
    pub padding: Padding,
    /// Distance between neighbouring kernel elements, `[down, across]` in cells; 1 is an ordinary kernel.
    #[serde(default = "ordinary_dilation")]
    pub dilation: [usize; 2],
    /// Groups G the channels are split into; each output channel sees only the IC / G input channels of
    /// its own group. 1 is an ordinary convolution, IC a depthwise one.
    #[serde(default = "one_group")]
    pub groups: usize,
    /// Input channels of all groups, IC.
    pub in_channels: usize,
    /// Output channels of all groups, OC.
    pub out_channels: usize,
}

fn ordinary_dilation() -> [usize; 2] {
    [1; 2]
}

fn one_group() -> usize {
    1
}

impl ConvLayer {
    /// A layer with a square input of `input` x `input` and a square kernel, stride 1, no padding.
    /// The sizes are checked when the layer is mapped, or by [`validate`](Self::validate).
    #[must_use]
    pub fn square(
        name: impl Into<String>,
        input: usize,
        kernel: usize,
        in_channels: usize,
        out_channels: usize,
    ) -> Self {
        Self {
            name: name.into(),
            input: [input; 2],
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: Padding::default(),
            dilation: ordinary_dilation(),
            groups: one_group(),
            in_channels,
            out_channels,
        }
    }

    /// The same layer with this stride on both axes.
    #[must_use]
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// The same layer with this padding: one number for all four sides, `[above and below, left and
    /// right]`, or `[top, bottom, left, right]`.
    #[must_use]
    pub fn with_padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    /// The same layer with this dilation on both axes.
    #[must_use]
    pub fn with_dilation(mut self, dilation: usize) -> Self {
        self.dilation = [dilation; 2];
        self
    }

    /// The same layer with its channels split into this many groups.
    #[must_use]
    pub fn with_groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// The same layer with a kernel of `height` x `width` cells.
    #[must_use]
    pub fn with_kernel(mut self, height: usize, width: usize) -> Self {
        self.kernel = [height, width];
        self
    }

    /// Input channels of one group, `IC / G`. Zero where there are no groups.
    #[must_use]
    pub fn group_in_channels(&self) -> usize {
        self.in_channels.checked_div(self.groups).unwrap_or(0)
    }

    /// Output channels of one group, `OC / G`. Zero where there are no groups.
    #[must_use]
    pub fn group_out_channels(&self) -> usize {
        self.out_channels.checked_div(self.groups).unwrap_or(0)
    }

    /// Input cells that a kernel spans with its gaps, `dilation * (K - 1) + 1`, `[height, width]`.
    #[must_use]
    pub fn kernel_extent(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let gaps = self.kernel[axis].saturating_sub(1);
            gaps.saturating_mul(self.dilation[axis]).saturating_add(1)
        })
    }

    /// Weights of the layer, `Kh * Kw * (IC / G) * OC`, without bias. Stops at `u64::MAX` for a layer
    /// that [`validate`](Self::validate) refuses as too large.
    #[must_use]
    pub fn params(&self) -> u64 {
        [
            self.kernel[0],
            self.kernel[1],
            self.group_in_channels(),
            self.out_channels,
        ]
        .iter()
        .fold(1, |product: u64, &size| product.saturating_mul(size as u64))
    }

    /// Output positions, `[height, width]`, as `accounting` counts them. Zero on an axis where the
    /// kernel does not fit or the stride is zero.
    #[must_use]
    pub fn output(&self, accounting: Accounting) -> [usize; 2] {
        let counted = self.counted(accounting);
        let (input, extent) = (counted.padded_input(), counted.kernel_extent());
        [0, 1].map(|axis| {
            input[axis]
                .checked_sub(extent[axis])
                .and_then(|room| room.checked_div(counted.stride[axis]))
                .map_or(0, |steps| steps + 1)
        })
    }

    /// Numbers that it gives, of all its output channels.
    #[must_use]
    pub fn outputs(&self, accounting: Accounting) -> u64 {
        let sides = self.output(accounting).into_iter();
        sides.fold(self.out_channels as u64, |all, side| {
            all.saturating_mul(side as u64)
        })
    }

    /// The layer as `accounting` sees it, for [`Accounting::ExactGeometry`] to take as it stands: under
    /// [`Accounting::AsPublished`] its input divided by the stride, at stride 1 and without padding. A
    /// mapping is proven by running this layer.
    ///
    /// ```
    /// use vwc_sdk::mapping::{Accounting, ConvLayer};
    ///
    /// let layer = ConvLayer::square("conv1", 224, 7, 3, 64).with_stride(2).with_padding(3);
    /// let counted = layer.counted(Accounting::AsPublished);
    /// assert_eq!((counted.input, counted.stride), ([112, 112], [1, 1]));
    /// ```
    #[must_use]
    pub fn counted(&self, accounting: Accounting) -> Self {
        match accounting {
            Accounting::ExactGeometry => self.clone(),
            Accounting::AsPublished => Self {
                // A stride of zero is refused by `validate`; here it must only not divide.
                input: [0, 1].map(|axis| self.input[axis].div_ceil(self.stride[axis].max(1))),
                stride: self.stride.map(|stride| stride.min(1)),
                padding: Padding::default(),
                ..self.clone()
            },
        }
    }

    /// The input with its padding, `[height, width]`: what the kernel slides over.
    #[must_use]
    pub fn padded_input(&self) -> [usize; 2] {
        let Padding {
            top,
            bottom,
            left,
            right,
        } = self.padding;
        [
            self.input[0].saturating_add(top).saturating_add(bottom),
            self.input[1].saturating_add(left).saturating_add(right),
        ]
    }

    /// Checks that the layer can be mapped under `accounting`.
    ///
    /// # Errors
    ///
    /// * [`MappingError::Dimension`]: a size is zero (padding may be) or above [`MAX_DIMENSION`].
    /// * [`MappingError::Groups`]: the groups do not divide the channels evenly.
    /// * [`MappingError::KernelTooLarge`]: there is not a single output position.
    /// * [`MappingError::TooLarge`]: the multiply-accumulates do not fit 64 bits.
    pub fn validate(&self, accounting: Accounting) -> Result<(), MappingError> {
        for (what, value, min) in [
            ("input height", self.input[0], 1),
            ("input width", self.input[1], 1),
            ("kernel height", self.kernel[0], 1),
            ("kernel width", self.kernel[1], 1),
            ("vertical stride", self.stride[0], 1),
            ("horizontal stride", self.stride[1], 1),
            ("vertical dilation", self.dilation[0], 1),
            ("horizontal dilation", self.dilation[1], 1),
            ("top padding", self.padding.top, 0),
            ("bottom padding", self.padding.bottom, 0),
            ("left padding", self.padding.left, 0),
            ("right padding", self.padding.right, 0),
            ("number of groups", self.groups, 1),
            ("number of input channels", self.in_channels, 1),
            ("number of output channels", self.out_channels, 1),
        ] {
            if !(min..=MAX_DIMENSION).contains(&value) {
                return Err(MappingError::Dimension {
                    layer: self.name.clone(),
                    what,
                    value,
                    min,
                });
            }
        }
        if !self.in_channels.is_multiple_of(self.groups) || !self.out_channels.is_multiple_of(self.groups) {
            return Err(MappingError::Groups {
                layer: self.name.clone(),
                groups: self.groups,
                in_channels: self.in_channels,
                out_channels: self.out_channels,
            });
        }
        if self.output(accounting).contains(&0) {
            let size = |[height, width]: [usize; 2]| format!("{height}x{width}");
            return Err(MappingError::KernelTooLarge {
                layer: self.name.clone(),
                kernel: size(self.kernel_extent()),
                input: size(self.counted(accounting).padded_input()),
                accounting,
            });
        }
        self.macs(accounting).map(|_| ())
    }

    /// Multiply-accumulates of the layer. Every cycle count is at most this number, because a cycle
    /// that does no work is never counted; so where it fits 64 bits, the cycles do too.
    pub(crate) fn macs(&self, accounting: Accounting) -> Result<u64, MappingError> {
        let [height, width] = self.output(accounting);
        [
            self.kernel[0],
            self.kernel[1],
            self.group_in_channels(),
            self.out_channels,
            height,
            width,
        ]
        .iter()
        .try_fold(1, |product: u64, &size| product.checked_mul(size as u64))
        .ok_or_else(|| MappingError::TooLarge {
            layer: self.name.clone(),
        })
    }
}

/// How a layer's output positions, and the columns of an array, are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Accounting {
    /// As the published tables count: padding is left out, a strided layer is counted at stride 1 on an input of
    /// its size divided by the stride, and columns are counted as if weights could share cells.
    ///
    /// Output `O = ceil(I / stride) - E + 1`, where `E = dilation * (K - 1) + 1` is the kernel with its
    /// gaps, K without dilation. This is the reading under which the tables of Rhe,
    /// Moon and Ko (arXiv 2112.11282; JETCAS 2022) come out: ResNet-18's first layer, for one,
    /// counts a 112x112 input.
    ///
    /// The published formula for columns is [`PimArray::published_cols`]. On cells of several bits it can count
    /// more columns than an array has for whole weights, see [`MappingConfig::shares_cells`].
    ///
    /// [`PimArray::published_cols`]: super::PimArray::published_cols
    /// [`MappingConfig::shares_cells`]: super::MappingConfig::shares_cells
    AsPublished,
    /// The convolution as it really runs: padding and stride both counted, and cells of its own for each weight.
    ///
    /// Output `O = floor((I + padding on both sides - E) / stride) + 1`, and a window of `w` outputs spans
    /// `(w - 1) * stride + E` input cells. Columns are
    /// [`PimArray::effective_cols`](super::PimArray::effective_cols).
    #[default]
    ExactGeometry,
}

super::names!(Accounting, "accounting", {
    "as-published" => AsPublished,
    "exact-geometry" => ExactGeometry,
});
