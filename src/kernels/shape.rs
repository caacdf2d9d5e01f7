use std::ops::Range;

/// A 2-D convolution of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Pictures.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride down and across.
    pub stride: [usize; 2],
    /// Zeros at top and bottom, and at left and right.
    pub padding: [(usize, usize); 2],
    /// From one place of the kernel to the next, down and across.
    pub dilation: [usize; 2],
}

impl ConvShape {
    /// Output height and width.
    ///
    /// # Panics
    ///
    /// Where the kernel is larger than the padded input.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|d| {
            let (before, behind) = self.padding[d];
            let (padded, span) = (before + self.input[d] + behind, self.span(d));
            assert!(
                padded >= span,
                "a kernel of {:?} with dilation {:?} does not fit an input of {:?} with padding {:?}",
                self.kernel,
                self.dilation,
                self.input,
                self.padding
            );
            (padded - span) / self.stride[d] + 1
        })
    }

    /// How far a kernel reaches in a direction.
    pub(super) fn span(&self, direction: usize) -> usize {
        self.dilation[direction] * (self.kernel[direction] - 1) + 1
    }

    /// Numbers in the input of one picture.
    pub(super) fn picture(&self) -> usize {
        self.input[0] * self.input[1] * self.channels[0]
    }

    /// The same sums as a product of two matrices, where every picture has one output position, or where every input
    /// position gives one output position: a row per position, nothing between the rows.
    pub(super) fn as_product(&self) -> Option<Product> {
        if self.padding != [(0, 0); 2] || self.dilation != [1, 1] {
            return None;
        }
        let [inputs, outputs] = self.channels;
        if self.kernel == self.input {
            return Some(Product {
                rows: self.batch,
                inner: self.picture(),
                columns: outputs,
            });
        }
        (self.kernel == [1, 1] && self.stride == [1, 1]).then(|| Product {
            rows: self.batch * self.input[0] * self.input[1],
            inner: inputs,
            columns: outputs,
        })
    }
}

/// `[rows, inner] x [inner, columns]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
}

/// `len` in as few parts of at most `most` as it takes, all about equally long.
pub(super) fn even_parts(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = len.div_ceil(most);
    (0..parts).map(move |part| part * len / parts..(part + 1) * len / parts)
}
