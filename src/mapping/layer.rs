//! One convolution, and the two ways of counting its output.

use serde::{Deserialize, Serialize};

use super::{MAX_DIMENSION, MappingError};

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
    /// Zero padding on each side, `[above and below, left and right]` in cells.
    pub padding: [usize; 2],
    /// Input channels, IC.
    pub in_channels: usize,
    /// Output channels, OC.
    pub out_channels: usize,
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
            padding: [0; 2],
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

    /// The same layer with this padding on all four sides.
    #[must_use]
    pub fn with_padding(mut self, padding: usize) -> Self {
        self.padding = [padding; 2];
        self
    }

    /// Weights of the layer, `Kh * Kw * IC * OC`, without bias. Stops at `u64::MAX` for a layer
    /// that [`validate`](Self::validate) refuses as too large.
    #[must_use]
    pub fn params(&self) -> u64 {
        [
            self.kernel[0],
            self.kernel[1],
            self.in_channels,
            self.out_channels,
        ]
        .iter()
        .fold(1, |product: u64, &size| product.saturating_mul(size as u64))
    }

    /// Output positions, `[height, width]`, as `accounting` counts them. Zero on an axis where the
    /// kernel does not fit or the stride is zero.
    #[must_use]
    pub fn output(&self, accounting: Accounting) -> [usize; 2] {
        let input = self.counted_input(accounting);
        let step = self.step(accounting);
        [0, 1].map(|axis| {
            input[axis]
                .checked_sub(self.kernel[axis])
                .and_then(|room| room.checked_div(step[axis]))
                .map_or(0, |steps| steps + 1)
        })
    }

    /// Checks that the layer can be mapped under `accounting`.
    ///
    /// # Errors
    ///
    /// * [`MappingError::Dimension`]: a size is zero (padding may be) or above [`MAX_DIMENSION`].
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
            ("vertical padding", self.padding[0], 0),
            ("horizontal padding", self.padding[1], 0),
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
        if self.output(accounting).contains(&0) {
            let size = |[height, width]: [usize; 2]| format!("{height}x{width}");
            return Err(MappingError::KernelTooLarge {
                layer: self.name.clone(),
                kernel: size(self.kernel),
                input: size(self.counted_input(accounting)),
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
            self.in_channels,
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

    /// The distance in counted input cells between neighbouring outputs, `[down, across]`.
    pub(crate) fn step(&self, accounting: Accounting) -> [usize; 2] {
        match accounting {
            Accounting::AsPublished => [1; 2],
            Accounting::ExactGeometry => self.stride,
        }
    }

    /// The input the kernel slides over, `[height, width]`.
    fn counted_input(&self, accounting: Accounting) -> [usize; 2] {
        [0, 1].map(|axis| match accounting {
            // A stride of zero is refused by `validate`; here it must only not divide.
            Accounting::AsPublished => self.input[axis].div_ceil(self.stride[axis].max(1)),
            Accounting::ExactGeometry => {
                self.input[axis].saturating_add(self.padding[axis].saturating_mul(2))
            }
        })
    }
}

/// How a layer's output positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Accounting {
    /// As the published tables count: padding is left out, and a strided layer is counted at
    /// stride 1 on an input of its size divided by the stride.
    ///
    /// Output `O = ceil(I / stride) - K + 1`. This is the reading under which the tables of Rhe,
    /// Moon and Ko (arXiv 2112.11282; JETCAS 2022) come out: ResNet-18's first layer, for one,
    /// counts a 112x112 input.
    AsPublished,
    /// The convolution as it really runs: padding and stride both counted.
    ///
    /// Output `O = floor((I + 2 * padding - K) / stride) + 1`, and a window of `w` outputs reads
    /// `(w - 1) * stride + K` input cells.
    #[default]
    ExactGeometry,
}

super::names!(Accounting, "accounting", {
    "as-published" => AsPublished,
    "exact-geometry" => ExactGeometry,
});
