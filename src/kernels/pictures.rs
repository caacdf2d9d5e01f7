use std::ops::Deref;

use rayon::prelude::*;

use super::buffer::Buffer;

/// A batch of feature maps in any memory layout.
#[derive(Clone, Copy, Debug)]
pub struct Pictures<'a> {
    /// The numbers, from the first of the first picture.
    pub data: &'a [f32],
    /// How far apart two neighbours lie: pictures, channels, rows, columns.
    pub strides: [usize; 4],
}

impl<'a> Pictures<'a> {
    /// All `batch` pictures where they lie channels last already.
    pub(super) fn as_channels_last(
        &self,
        batch: usize,
        channels: usize,
        size: [usize; 2],
    ) -> Option<&'a [f32]> {
        let wanted = channels_last(channels, size);
        let sizes = [batch, channels, size[0], size[1]];
        // How far apart the neighbours would be, where there is only one, says nothing.
        let same = (0..4).all(|d| sizes[d] == 1 || self.strides[d] == wanted[d]);
        same.then(|| &self.data[..batch * wanted[0]])
    }

    /// All `batch` pictures, channels last, copied where they lie otherwise.
    pub(super) fn to_channels_last(
        self,
        batch: usize,
        channels: usize,
        size: [usize; 2],
    ) -> ChannelsLast<'a> {
        if let Some(data) = self.as_channels_last(batch, channels, size) {
            return ChannelsLast::InPlace(data);
        }
        let mut data = Buffer::unwritten(batch * channels * size[0] * size[1]);
        self.copy_channels_last(channels, size, &mut data);
        ChannelsLast::Copied(data)
    }

    /// Copies pictures, as many as `to` holds, to `to`, channels last.
    pub(super) fn copy_channels_last(&self, channels: usize, size: [usize; 2], to: &mut [f32]) {
        to.par_chunks_mut(channels * size[0] * size[1])
            .enumerate()
            .for_each(|(n, to)| self.copy_framed(n, channels, size, Frame::default(), to));
    }

    /// Copies picture `n` to `to`, channels last, into the middle of a frame of zeros.
    pub(super) fn copy_framed(
        &self,
        n: usize,
        channels: usize,
        size: [usize; 2],
        frame: Frame,
        to: &mut [f32],
    ) {
        let [height, width] = size;
        let pitch = (frame.left + width + frame.right) * channels;
        let (top, rest) = to.split_at_mut(frame.top * pitch);
        let (middle, bottom) = rest.split_at_mut(height * pitch);
        top.fill(0.0);
        bottom.fill(0.0);
        let [_, by_channel, by_row, by_column] = self.strides;
        let start = n * self.strides[0];
        for (y, row) in middle.chunks_exact_mut(pitch).enumerate() {
            let (left, rest) = row.split_at_mut(frame.left * channels);
            let (row, right) = rest.split_at_mut(width * channels);
            left.fill(0.0);
            right.fill(0.0);
            let start = start + y * by_row;
            if (by_channel == 1 || channels == 1) && by_column == channels {
                row.copy_from_slice(&self.data[start..][..width * channels]);
                continue;
            }
            if by_channel == 1 {
                for (x, to) in row.chunks_exact_mut(channels).enumerate() {
                    to.copy_from_slice(&self.data[start + x * by_column..][..channels]);
                }
                continue;
            }
            for channel in 0..channels {
                let from = &self.data[start + channel * by_channel..];
                for (x, to) in row.chunks_exact_mut(channels).enumerate() {
                    to[channel] = from[x * by_column];
                }
            }
        }
    }
}

/// What [`Pictures::to_channels_last`] gives.
pub(super) enum ChannelsLast<'a> {
    InPlace(&'a [f32]),
    Copied(Buffer),
}

impl Deref for ChannelsLast<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::InPlace(data) => data,
            Self::Copied(data) => data,
        }
    }
}

/// Strides of pictures that lie channels last.
pub(super) fn channels_last(channels: usize, [height, width]: [usize; 2]) -> [usize; 4] {
    [channels * height * width, 1, width * channels, channels]
}

/// Rows and columns of zeros around a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
}

impl Frame {
    /// Zeros at top and bottom, and at left and right.
    pub(super) fn of_padding([(top, bottom), (left, right)]: [(usize, usize); 2]) -> Self {
        Self {
            top,
            bottom,
            left,
            right,
        }
    }

    /// Numbers in a framed picture.
    pub(super) fn len(&self, channels: usize, [height, width]: [usize; 2]) -> usize {
        (self.top + height + self.bottom) * (self.left + width + self.right) * channels
    }
}
