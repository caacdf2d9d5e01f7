//! One layer on one array, reduced to the numbers the mapping formulas read.
//!
//! Everything is checked once, in [`Problem::new`]; after that no product can overflow, so the
//! methods are written as plain arithmetic. The bounds: sizes are at most 2^18, so a window is
//! narrower than 2^20 cells and `PWw * PWh * IC` stays under 2^58; cycles are at most the layer's
//! multiply-accumulates, which were checked to fit 64 bits.

use super::{ConvLayer, Mapping, MappingConfig, MappingError, Method, Window, array::check_bits};

/// A checked layer on a checked array. Axes are named, so that no method has to remember an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Problem {
    pub out_w: u64,
    pub out_h: u64,
    pub kernel_w: u64,
    pub kernel_h: u64,
    pub step_w: u64,
    pub step_h: u64,
    pub in_channels: u64,
    pub out_channels: u64,
    pub rows: u64,
    /// Effective columns C'.
    pub cols: u64,
    /// See [`super::lower_bound`].
    pub lower_bound: u64,
}

impl Problem {
    pub fn new(layer: &ConvLayer, config: &MappingConfig) -> Result<Self, MappingError> {
        config.array.validate()?;
        check_bits("weight", config.weight_bits)?;
        layer.validate(config.accounting)?;
        let rows = config.array.rows as u64;
        let cols = config.array.effective_cols(config.weight_bits) as u64;
        if cols == 0 {
            return Err(MappingError::NoColumns {
                array: config.array,
                weight_bits: config.weight_bits,
            });
        }
        let [out_h, out_w] = layer.output(config.accounting).map(|size| size as u64);
        let [kernel_h, kernel_w] = layer.kernel.map(|size| size as u64);
        let [step_h, step_w] = layer.step(config.accounting).map(|size| size as u64);
        Ok(Self {
            out_w,
            out_h,
            kernel_w,
            kernel_h,
            step_w,
            step_h,
            in_channels: layer.in_channels as u64,
            out_channels: layer.out_channels as u64,
            rows,
            cols,
            lower_bound: layer.macs(config.accounting)?.div_ceil(rows * cols),
        })
    }

    /// Input cells of the window that computes `w` x `h` outputs, as (width, height).
    pub fn window(&self, w: u64, h: u64) -> (u64, u64) {
        (
            (w - 1) * self.step_w + self.kernel_w,
            (h - 1) * self.step_h + self.kernel_h,
        )
    }

    /// ICt: whole input channels of the window that fit on the rows.
    pub fn in_tile(&self, w: u64, h: u64) -> u64 {
        let (width, height) = self.window(w, h);
        self.in_channels.min(self.rows / (width * height))
    }

    /// OCt: whole output channels, each `w * h` columns wide, that fit on the columns.
    pub fn out_tile(&self, w: u64, h: u64) -> u64 {
        self.out_channels.min(self.cols / (w * h))
    }

    /// The mapping with this window, cut into `row_cycles` x `col_cycles` arrays.
    pub fn mapping(&self, method: Method, w: u64, h: u64, row_cycles: u64, col_cycles: u64) -> Mapping {
        let n_windows = self.out_w.div_ceil(w) * self.out_h.div_ceil(h);
        let (width, height) = self.window(w, h);
        Mapping {
            method,
            window: Window {
                width: width as usize,
                height: height as usize,
            },
            w: w as usize,
            h: h as usize,
            in_tile: self.in_tile(w, h) as usize,
            out_tile: self.out_tile(w, h) as usize,
            n_windows,
            row_cycles,
            col_cycles,
            cycles: n_windows * row_cycles * col_cycles,
            lower_bound: self.lower_bound,
        }
    }
}
